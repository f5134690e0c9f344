//! What went wrong between berth and a registry of images.

use berth_images::Problem;

use super::{FAILED, NOT_FOUND, USAGE, Words, hinted, plain};

pub(super) fn of_registry(problem: &Problem) -> Words {
    match problem {
        Problem::Unauthorized { registry, .. } => hinted(
            FAILED,
            &format!("`docker login {registry}` or podman's, and try again"),
        ),
        Problem::Denied(_) => hinted(
            FAILED,
            "whoever `docker login` let in may not do this there: use another repository or another login",
        ),
        Problem::NotFound => hinted(
            NOT_FOUND,
            "check the repository and the tag; registries also say this of private ones to who is not let in: `docker login`",
        ),
        Problem::Unreached(_) | Problem::Busy(_) => hinted(
            FAILED,
            "check the network and the registry; what has come is kept, and the same command goes on from there",
        ),
        Problem::TooLarge(_) => hinted(
            FAILED,
            "raise the limit of the registry or of the proxy before it, or use another registry",
        ),
        Problem::Wrong(_) => hinted(FAILED, "nothing of it was kept; it has to be pushed anew"),
        Problem::NotBerths(_) => hinted(
            USAGE,
            "`berth image push` brings images of machines to a registry",
        ),
        Problem::Unfit(_) => hinted(USAGE, "change that in its recipe, and build it anew"),
        Problem::Later => hinted(FAILED, "upgrade this berth"),
        Problem::Arch { .. } => hinted(
            USAGE,
            "push one from a computer like this one, under a tag of its own",
        ),
        Problem::Credentials { registry, .. } => hinted(
            FAILED,
            &format!("`docker login {registry}` writes them anew"),
        ),
        Problem::Answer(_) => plain(FAILED),
    }
}
