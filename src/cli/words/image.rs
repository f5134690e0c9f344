//! What went wrong with an image.

use berth_images::Error as ImageError;

use super::registry::of_registry;
use super::{FAILED, NOT_FOUND, USAGE, WRONG_STATE, Words, hinted, of_io, plain};

pub(super) fn of_image(error: &ImageError) -> Words {
    match error {
        ImageError::Download { .. } => hinted(
            FAILED,
            "what has come is kept: the same command goes on from there",
        ),
        ImageError::Registry { problem, .. } => of_registry(problem),
        ImageError::NoSource { reasons, .. } => {
            let unreached = |error: &ImageError| matches!(error, ImageError::Download { .. });
            match reasons.iter().all(|(_, error)| unreached(error)) {
                true => hinted(
                    FAILED,
                    "check the network; what has come is kept, and the same command goes on from there",
                ),
                false => hinted(
                    FAILED,
                    "nothing that is not as its distributor says was kept; try again later, or another image",
                ),
            }
        }
        ImageError::Mismatch { .. } => hinted(
            FAILED,
            "nothing of it was kept; compare the digest with the distributor's",
        ),
        ImageError::Checksums { .. } | ImageError::Unsigned { .. } => plain(FAILED),
        ImageError::Unvouched { .. } => hinted(
            USAGE,
            "use its https address, or say what it is with --digest sha256:…",
        ),
        ImageError::InvalidReference { .. }
        | ImageError::NotADisk { .. }
        | ImageError::WrongKind { .. }
        | ImageError::UnsafeDisk { .. } => plain(USAGE),
        ImageError::UnknownImage { .. } => hinted(NOT_FOUND, "`berth image ls` lists them"),
        ImageError::Recipe { .. } | ImageError::Arch { .. } => plain(FAILED),
        ImageError::ToolMissing { .. } => {
            hinted(FAILED, "`berth doctor --fix` installs what is missing")
        }
        ImageError::Mirror { .. } => hinted(
            FAILED,
            &format!(
                "check the network, or set {} to a mirror that is reached",
                berth_images::MIRROR_VARIABLE
            ),
        ),
        ImageError::DiskFull { .. } => hinted(
            FAILED,
            "free some space there, or set BERTH_IMAGES to a folder on another disk",
        ),
        ImageError::InUse { .. } => hinted(WRONG_STATE, "remove those machines first"),
        ImageError::Damaged { .. } => hinted(
            FAILED,
            "`berth image rm` it, and it is built anew when it is needed",
        ),
        ImageError::Tool { .. } => {
            hinted(FAILED, "`berth doctor` checks the tools that build images")
        }
        ImageError::Io { source, .. } => of_io(source),
    }
}
