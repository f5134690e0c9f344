//! Embeds every file of recipes/ and keys/, so that a new image is one new file and no change of code.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=recipes");
    println!("cargo::rerun-if-changed=keys");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let recipes = list(&root.join("recipes"))?;
    let files = list(&root.join("recipes/files"))?;
    let keys = list(&root.join("keys"))?;

    let mut code = String::from("pub(crate) const RECIPES: &[(&str, &str)] = &[\n");
    for path in recipes {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let _ = writeln!(code, "    ({name:?}, include_str!({path:?})),");
    }
    for (name, files) in [("FILES", files), ("KEYS", keys)] {
        let _ = writeln!(code, "];\npub(crate) const {name}: &[(&str, &[u8])] = &[");
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(code, "    ({name:?}, include_bytes!({path:?})),");
        }
    }
    code.push_str("];\n");
    fs::write(out.join("embedded.rs"), code)
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
