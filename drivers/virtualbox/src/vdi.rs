//! VirtualBox's disk files of the format VDI 1.1 that hold only what differs from a disk below: what layers of them say
//! together is put into one.
//!
//! A layer has a table with an entry for each block of the disk: where in the file it is, that it is zeros, or that the
//! layer below has it. A block is in a layer as a whole or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use berth_driver_api::{Error, Result};

const SIGNATURE: (u64, u32) = (0x40, 0xbeda_107f);
const VERSION: (u64, u32) = (0x44, 0x0001_0001);

/// Where the header has its numbers.
const KIND: u64 = 0x4c;
const TABLE: u64 = 0x154;
const DATA: u64 = 0x158;
const SIZE: u64 = 0x170;
const BLOCK_SIZE: u64 = 0x178;
const BLOCK_EXTRA: u64 = 0x17c;
const BLOCKS: u64 = 0x180;
const ALLOCATED: u64 = 0x184;

/// The kind of file that lies over another one.
const DIFFERENCING: u32 = 4;

/// Entries of the table that are no places.
const BELOW: u32 = 0xffff_ffff;
const ZEROS: u32 = 0xffff_fffe;

/// More blocks than any disk of berth's has.
const MOST_BLOCKS: u32 = 1 << 26;

struct Layer {
    path: PathBuf,
    file: File,
    table_at: u64,
    data_at: u64,
    block: usize,
    extra: u64,
    table: Vec<u32>,
}

impl Layer {
    fn open(path: &Path, write: bool) -> Result<Layer> {
        let opened = OpenOptions::new().read(true).write(write).open(path);
        let file = opened.map_err(Error::io(path))?;
        let number = |at| number(&file, at).map_err(Error::io(path));
        let is = |(at, wanted)| number(at).map(|found| found == wanted);
        let strange = |what: &str| Error::failed(format!("the disk {}", path.display()), what);
        if !is(SIGNATURE)? || !is(VERSION)? || !is((KIND, DIFFERENCING))? {
            return Err(strange("is no VDI that lies over another disk"));
        }
        let (block, blocks) = (number(BLOCK_SIZE)?, number(BLOCKS)?);
        if !(512..=64 << 20).contains(&block) || blocks > MOST_BLOCKS {
            return Err(strange("has blocks that no VDI has"));
        }
        let table_at = u64::from(number(TABLE)?);
        let mut bytes = vec![0; blocks as usize * 4];
        file.read_exact_at(&mut bytes, table_at)
            .map_err(Error::io(path))?;
        let words = bytes.as_chunks::<4>().0.iter();
        Ok(Layer {
            path: path.to_owned(),
            table_at,
            data_at: u64::from(number(DATA)?),
            block: block as usize,
            extra: u64::from(number(BLOCK_EXTRA)?),
            table: words.map(|word| u32::from_le_bytes(*word)).collect(),
            file,
        })
    }

    /// Where a block's bytes are.
    fn place(&self, entry: u32) -> u64 {
        self.data_at + u64::from(entry) * (self.block as u64 + self.extra) + self.extra
    }

    fn read(&self, entry: u32, block: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(block, self.place(entry))
    }

    /// Adds a block at the file's end, as the `entry`th one.
    fn add(&self, entry: u32, block: &[u8]) -> io::Result<()> {
        self.file.write_all_at(block, self.place(entry))
    }

    /// Writes the table, which comes after what it speaks of.
    fn settle(&self, allocated: u32) -> io::Result<()> {
        self.file.sync_data()?;
        let bytes: Vec<u8> = self
            .table
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        self.file.write_all_at(&bytes, self.table_at)?;
        self.file
            .write_all_at(&allocated.to_le_bytes(), ALLOCATED)?;
        self.file.sync_all()
    }
}

/// The size in bytes of the disk that a layer is of.
///
/// # Errors
/// If it is not such a file.
pub(crate) fn size(path: &Path) -> Result<u64> {
    let layer = Layer::open(path, false)?;
    let mut bytes = [0; 8];
    layer
        .file
        .read_exact_at(&mut bytes, SIZE)
        .map_err(Error::io(path))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Fills `empty`, a layer over an equal disk, with what `layers` say, the uppermost first.
///
/// # Errors
/// If one of them is not such a file, or they are of unlike disks.
pub(crate) fn merge(layers: &[PathBuf], empty: &Path) -> Result<()> {
    let opened: Result<Vec<Layer>> = layers.iter().map(|path| Layer::open(path, false)).collect();
    let layers = opened?;
    let mut new = Layer::open(empty, true)?;
    if let Some(other) = layers
        .iter()
        .find(|layer| (layer.block, layer.table.len()) != (new.block, new.table.len()))
    {
        return Err(Error::failed(
            format!("the disk {}", other.path.display()),
            "is not as large as the copy's",
        ));
    }
    let mut allocated = 0;
    let mut block = vec![0; new.block];
    for index in 0..new.table.len() {
        let found = layers
            .iter()
            .find(|layer| layer.table.get(index).is_some_and(|entry| *entry != BELOW));
        let Some(layer) = found else { continue };
        let entry = match layer.table.get(index) {
            Some(&entry) if entry != ZEROS => {
                layer
                    .read(entry, &mut block)
                    .map_err(Error::io(&layer.path))?;
                new.add(allocated, &block).map_err(Error::io(&new.path))?;
                allocated += 1;
                allocated - 1
            }
            _ => ZEROS,
        };
        if let Some(place) = new.table.get_mut(index) {
            *place = entry;
        }
    }
    new.settle(allocated).map_err(Error::io(&new.path))
}

fn number(file: &File, at: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u32 = 4096;
    const TABLE_AT: u32 = 0x200;
    const DATA_AT: u32 = 0x1000;

    /// A layer over a disk of so many blocks: `B` has the block from below, `0` has zeros, any other a block of its own
    /// that is full of that letter.
    fn layer(folder: &Path, name: &str, blocks: &str) -> PathBuf {
        let path = folder.join(name);
        let file = File::create_new(&path).unwrap();
        let put = |at: u64, value: u32| file.write_all_at(&value.to_le_bytes(), at).unwrap();
        for (at, value) in [
            SIGNATURE,
            VERSION,
            (KIND, DIFFERENCING),
            (TABLE, TABLE_AT),
            (DATA, DATA_AT),
            (BLOCK_SIZE, BLOCK),
            (BLOCKS, blocks.len() as u32),
        ] {
            put(at, value);
        }
        let mut used = 0;
        for (index, letter) in blocks.bytes().enumerate() {
            let entry = match letter {
                b'B' => BELOW,
                b'0' => ZEROS,
                _ => {
                    let at = u64::from(DATA_AT) + u64::from(used) * u64::from(BLOCK);
                    file.write_all_at(&[letter; BLOCK as usize], at).unwrap();
                    used += 1;
                    used - 1
                }
            };
            put(u64::from(TABLE_AT) + index as u64 * 4, entry);
        }
        put(ALLOCATED, used);
        path
    }

    /// What is in a layer, in the same letters.
    fn letters(path: &Path) -> String {
        let layer = Layer::open(path, false).unwrap();
        let letter = |entry: &u32| match *entry {
            BELOW => 'B',
            ZEROS => '0',
            entry => {
                let mut block = [0; BLOCK as usize];
                layer.read(entry, &mut block).unwrap();
                assert!(block.iter().all(|byte| *byte == block[0]));
                char::from(block[0])
            }
        };
        layer.table.iter().map(letter).collect()
    }

    #[test]
    fn the_uppermost_layer_that_has_a_block_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let layers = [
            layer(at, "now", "BxB0BB"),
            layer(at, "snapshot", "yyBByB"),
            layer(at, "first", "zzzzzB"),
        ];
        let new = layer(at, "new", "BBBBBB");
        merge(&layers, &new).unwrap();
        assert_eq!(letters(&new), "yxz0yB");
        let file = File::open(&new).unwrap();
        assert_eq!(number(&file, ALLOCATED).unwrap(), 4);
        assert_eq!(letters(&layers[2]), "zzzzzB");
    }

    #[test]
    fn what_is_no_layer_of_an_equal_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let new = layer(at, "new", "BB");
        let longer = layer(at, "longer", "xxx");
        let text = at.join("text");
        std::fs::write(&text, [b'x'; 4096]).unwrap();
        let short = at.join("short");
        std::fs::write(&short, "VDI").unwrap();
        for other in [longer, text, short, at.join("none")] {
            assert!(merge(&[other], &new).is_err());
        }
        assert_eq!(letters(&new), "BB");
    }
}
