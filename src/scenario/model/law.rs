//! Laws as the language writes them. The written form is kept, so that a plan reads as it was meant.

use crate::kernel::Law;
use crate::units::Bytes;

/// A law of a length of time; its [`Law`] is in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeLaw {
    law: Law,
}

/// A law of an amount of data; its [`Law`] is in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteLaw {
    law: Law,
}

impl TimeLaw {
    /// Always `secs` seconds.
    #[must_use]
    pub fn constant_secs(secs: f64) -> Self {
        Self { law: Law::Constant(secs) }
    }

    /// Uniform between `min` and `max` seconds.
    #[must_use]
    pub fn uniform_secs(min: f64, max: f64) -> Self {
        Self { law: Law::Uniform { min, max } }
    }

    /// The law, in seconds.
    #[must_use]
    pub fn law(&self) -> &Law {
        &self.law
    }
}

impl ByteLaw {
    /// Always `bytes` bytes.
    #[must_use]
    pub fn constant(bytes: u64) -> Self {
        Self { law: Law::Constant(Bytes::new(bytes).get() as f64) }
    }

    /// The law, in bytes.
    #[must_use]
    pub fn law(&self) -> &Law {
        &self.law
    }
}
