//! Files and machines as dice would have them: after apply there is nothing to do.

use crate::Fleet;
use crate::support::World;

/// The same numbers at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Knuth's MMIX, of which the high bits are good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Whatever is edited in the file, and whatever happens to its machines, after apply there is nothing to do.
#[test]
fn nothing_is_left_to_do_after_apply() {
    let world = World::new();
    let mut dice = Dice(20_261_122);
    for round in 0..12 {
        let groups = edited(&mut dice);
        world.declare(&groups);
        meddle(&world, &mut dice);
        world.apply().ok();
        let left = world.plan();
        assert!(left.code == 0, "round {round}: {left:#?} after\n{groups}");
        let before = world.snapshot();
        assert_eq!(world.apply().ok().stdout, "", "round {round}");
        world.is_as_it_was(&before, &groups);
    }
}

fn edited(dice: &mut Dice) -> String {
    let mut text = String::new();
    for group in ["aa", "bb"] {
        text += &format!("[groups.{group}]\ncount = {}\n", dice.roll(3));
        if dice.roll(4) == 0 {
            text += "memory = '128M'\n";
        }
        if dice.roll(4) == 0 {
            text += "options = { frail = false }\n";
        }
        if dice.roll(3) == 0 {
            text += "daemon = { debug = true }\n";
        }
        let labels: Vec<String> = ["x", "y", "z"]
            .iter()
            .filter_map(|key| match dice.roll(3) {
                0 => None,
                value => Some(format!("{key} = '{value}'")),
            })
            .collect();
        text += &format!("labels = {{ {} }}\n", labels.join(", "));
    }
    text
}

/// Does to one of the machines what nobody told the file.
fn meddle(world: &World, dice: &mut Dice) {
    let names = world.berth(&["ls", "-q"]).ok();
    let names = names.lines();
    if names.is_empty() {
        return;
    }
    let name = names[usize::try_from(dice.roll(names.len() as u64)).unwrap()];
    match dice.roll(5) {
        0 => drop(world.berth(&["rm", "-y", name]).ok()),
        1 => drop(world.berth(&["label", name, "x=9", "w=1", "y-"]).ok()),
        2 => drop(world.berth(&["stop", name]).ok()),
        3 => drop(world.berth(&["kill", name]).ok()),
        _ => {}
    }
}
