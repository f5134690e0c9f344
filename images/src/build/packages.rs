//! Single packages of an archive, checked by apt against the archive's signature, and unpacked without being installed.

use std::fs;
use std::path::{Path, PathBuf};

use berth_driver_api::process;

use crate::build::rootfs::explain;
use crate::run::{command, run_quietly};
use crate::{Error, Recipe, Result};

/// Who may sign an archive. A recipe's further `sources` may name another with `[signed-by=…]`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Downloads the newest version of each of `packages` and unpacks all of them into the folder that it gives back.
///
/// # Errors
/// [`Error::Mirror`] if they cannot be had, [`Error::Tool`] if a signature is wrong.
pub(crate) async fn unpacked(
    recipe: &Recipe,
    packages: &[&str],
    architecture: &str,
    work: &Path,
) -> Result<PathBuf> {
    let mirror = recipe.effective_mirror();
    let explained = |error| explain(error, &mirror, work);
    let apt = Apt::new(recipe, &mirror, architecture, work).await?;
    apt.run(&["update"]).await.map_err(explained)?;
    let mut download = vec!["download"];
    download.extend(packages);
    apt.run(&download).await.map_err(explained)?;

    let root = work.join("root");
    fs::create_dir(&root).map_err(Error::io(&root))?;
    for entry in fs::read_dir(&apt.downloads).map_err(Error::io(&apt.downloads))? {
        let package = entry.map_err(Error::io(&apt.downloads))?.path();
        let mut unpack = command("dpkg-deb")?;
        unpack.arg("--extract").arg(&package).arg(&root);
        run_quietly("dpkg-deb", unpack).await.map_err(explained)?;
    }
    Ok(root)
}

/// An apt of its own: nothing of the host's is read, but how it reaches the network, and nothing of it is written.
struct Apt {
    configuration: PathBuf,
    downloads: PathBuf,
}

impl Apt {
    async fn new(recipe: &Recipe, mirror: &str, architecture: &str, work: &Path) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            let missing = format!("there is no {KEYRING}: install debian-archive-keyring");
            return Err(Error::tool("apt-get", missing));
        }
        let home = work.join("apt");
        let downloads = home.join("downloads");
        for name in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "etc/trusted.gpg.d",
            "etc/sources.list.d",
            "downloads",
        ] {
            let path = home.join(name);
            fs::create_dir_all(&path).map_err(Error::io(&path))?;
        }
        let mut sources = format!(
            "deb [signed-by={KEYRING}] {mirror} {} {}\n",
            recipe.suite,
            recipe.components.join(" ")
        );
        for line in &recipe.sources {
            sources.push_str(line);
            sources.push('\n');
        }
        write(&home.join("etc/sources.list"), &sources)?;
        write(&home.join("state/status"), "")?;
        let configuration = home.join("apt.conf");
        let text = configured(
            &home,
            architecture,
            recipe.check_valid_until,
            &proxies().await?,
        );
        write(&configuration, &text)?;
        Ok(Apt {
            configuration,
            downloads,
        })
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut apt = command("apt-get")?;
        apt.env("APT_CONFIG", &self.configuration)
            .current_dir(&self.downloads)
            .arg("-q")
            .args(arguments);
        run_quietly("apt-get", apt).await
    }
}

/// The file that `APT_CONFIG` names: apt reads it first, and then looks for everything else below `home`.
fn configured(home: &Path, architecture: &str, check_valid_until: bool, proxies: &str) -> String {
    let home = home.display();
    format!(
        "Dir \"{home}\";\nDir::State \"{home}/state\";\nDir::State::status \"{home}/state/status\";\n\
         Dir::Cache \"{home}/cache\";\nDir::Etc \"{home}/etc\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\n\
         APT::Get::AllowUnauthenticated \"false\";\nAcquire::AllowInsecureRepositories \"false\";\n\
         Acquire::Check-Valid-Until \"{check_valid_until}\";\nAcquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n{proxies}"
    )
}

/// How the host's own apt goes through proxies, in the form of its configuration.
async fn proxies() -> Result<String> {
    let mut dump = command("apt-config")?;
    dump.args(["dump", "--no-empty", "--format", "%f \"%v\";%n"])
        .args(["Acquire::http::Proxy", "Acquire::https::Proxy"]);
    let output = process::output(dump).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_looks_nowhere_but_in_its_own_folder() {
        let text = configured(
            Path::new("/w/apt"),
            "amd64",
            false,
            "Acquire::http::Proxy \"http://p\";\n",
        );
        for line in [
            "Dir \"/w/apt\";",
            "Dir::Etc \"/w/apt/etc\";",
            "Acquire::Check-Valid-Until \"false\";",
            "Acquire::AllowInsecureRepositories \"false\";",
            "Acquire::http::Proxy \"http://p\";",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }
}
