//! Patterns for machines' names.

/// True if `name` is a pattern rather than a name: no machine's name has `*` or `?` in it.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters, or none, and `?` for one.
///
/// Takes time in proportion to the product of the lengths at worst.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on when what follows the last star does not fit: the star takes one character more.
    let mut star = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || name.get(in_name) == Some(wanted) => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                in_name = taken + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("web*", "web1", true),
            ("web*", "web", true),
            ("web*", "my-web", false),
            ("*", "anything", true),
            ("*-db-*", "eu-db-1", true),
            ("*-db-*", "eu-dbx-1", false),
            ("web?", "web1", true),
            ("web?", "web", false),
            ("web?", "web10", false),
            ("w*b*1", "web-blob-21", true),
            ("*1*1", "1", false),
            ("a*b", "ab-ab-a", false),
            ("**", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_malicious_pattern_takes_no_time() {
        assert!(!fits(&"*a".repeat(2000), &"a".repeat(1999)));
    }
}
