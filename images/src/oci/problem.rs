//! What can go wrong between berth and a registry.

/// Why an image could not be brought to a registry, or had from it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Problem {
    /// It wants to know who asks, or does not take what it is told.
    #[error(
        "the registry {registry} {}",
        match known {
            true => "does not take the login that docker or podman keeps for it",
            false => "wants to know who asks, and neither docker nor podman keeps a login for it",
        }
    )]
    Unauthorized {
        /// The registry as the user named it.
        registry: String,
        /// Whether there were credentials.
        known: bool,
    },

    /// Whoever asks may not do this.
    #[error("the registry refuses: {0}")]
    Denied(String),

    /// Neither the tag nor the digest, or not even the repository.
    #[error("the registry has no such image")]
    NotFound,

    /// No answer, or none to the end.
    #[error("the registry cannot be reached: {0}")]
    Unreached(String),

    /// It answers that it cannot answer now.
    #[error("the registry answers {0}")]
    Busy(String),

    /// It answers something else than the specification says.
    #[error("the registry {0}")]
    Answer(String),

    /// It takes nothing of that size.
    #[error("the registry takes nothing of {0} bytes")]
    TooLarge(u64),

    /// What came is not what it is said to be.
    #[error("{0}")]
    Wrong(String),

    /// It is something else.
    #[error("it is {0}, not an image that berth pushed")]
    NotBerths(String),

    /// It is stored here, but berth would take none such from a registry.
    #[error("it is not pushed, for berth would not take it back: {0}")]
    Unfit(String),

    /// A later berth pushed it.
    #[error("it was pushed by a later berth, in a form that this one does not know")]
    Later,

    /// A guest for other computers.
    #[error("it is an image for {is}, and this computer is {host}", host = crate::HOST_ARCH)]
    Arch {
        /// The image's architecture as `uname -m` says it.
        is: String,
    },

    /// Docker's credentials could not be had.
    #[error("the login kept for {registry}: {detail}")]
    Credentials {
        /// The registry as docker knows it.
        registry: String,
        /// What failed, without the credentials.
        detail: String,
    },
}

impl Problem {
    /// Whether trying again may help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Problem::Unreached(_) | Problem::Busy(_))
    }
}
