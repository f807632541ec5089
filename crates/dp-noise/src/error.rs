//! Parameters that no sampler takes.

/// Why there is no noise. Every message names the value, what is allowed, and the hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The noise's scale is out of range.
    #[error(
        "the noise scale sigma is {sigma}, and the exact sampler takes 1 to {}; choose one in that range",
        crate::MAX_SIGMA
    )]
    Sigma {
        /// What was asked for.
        sigma: u32,
    },
    /// The scale of Laplace noise is out of range.
    #[error(
        "the noise scale is {scale}, and the exact sampler takes 1 to {}; choose one in that range",
        crate::MAX_SIGMA
    )]
    Scale {
        /// What was asked for.
        scale: u32,
    },
    /// A vote among no classes.
    #[error("the votes have 0 classes, and a vote needs 1 or more; give the count of every class, zeros too")]
    NoClasses,
    /// The operating system has no random bytes.
    #[error(
        "the operating system gave no random bytes for the noise's key, and 32 are needed; \
         run where its generator can be reached (on Linux: getrandom or /dev/urandom)"
    )]
    Entropy {
        /// The operating system's reason.
        source: getrandom::Error,
    },
}
