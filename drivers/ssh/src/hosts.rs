//! What the user's known_hosts files say of the host.

use berth_driver_api::{Result, process};

use crate::options::public_key;
use crate::settings::Settings;

/// More lines than any host has keys.
const MOST: usize = 32;

/// The keys that the user's ssh knows the host by, as `type base64`. ssh-keygen finds them under hashed names too.
pub(crate) async fn known_keys(settings: &Settings) -> Result<Vec<String>> {
    let name = settings.recorded_name();
    let (mut known, mut revoked) = (Vec::new(), Vec::new());
    for file in settings.known_hosts.iter().filter(|file| file.is_file()) {
        let mut command = process::command("ssh-keygen")?;
        command.arg("-F").arg(&name).arg("-f").arg(file);
        // It fails where it finds none.
        let printed = process::output(command).await.unwrap_or_default();
        for line in String::from_utf8_lossy(&printed).lines().take(MOST) {
            let (marker, line) = match line.strip_prefix('@').and_then(|rest| rest.split_once(' '))
            {
                Some((marker, rest)) => (marker, rest),
                None => ("", line),
            };
            let key = line.split_once(' ').and_then(|(_, key)| public_key(key));
            match (marker, key) {
                ("", Some(key)) if !known.contains(&key) => known.push(key),
                ("revoked", Some(key)) => revoked.push(key),
                // An authority vouches for certificates, which berth does not read.
                _ => {}
            }
        }
    }
    known.retain(|key| !revoked.contains(key));
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[tokio::test]
    async fn hashed_names_are_found_and_revoked_keys_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let settings = Settings {
            hostname: "web".into(),
            port: 2222,
            known_hosts: vec![file.clone(), folder.path().join("none")],
            ..Settings::default()
        };
        std::fs::write(
            &file,
            format!("[web]:2222 {KEY} x\nweb {}\n", KEY.replace("Jd", "Ke")),
        )
        .unwrap();
        let hashed = Command::new("ssh-keygen")
            .arg("-Hf")
            .arg(&file)
            .output()
            .unwrap();
        assert!(hashed.status.success());
        assert!(!std::fs::read_to_string(&file).unwrap().contains("web"));
        assert_eq!(known_keys(&settings).await.unwrap(), [KEY]);
        let text =
            std::fs::read_to_string(&file).unwrap() + &format!("@revoked [web]:2222 {KEY}\n");
        std::fs::write(&file, text).unwrap();
        assert!(known_keys(&settings).await.unwrap().is_empty());
    }
}
