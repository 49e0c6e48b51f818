//! CPU, memory and money as integers.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

/// An amount of CPU in 1/128,000 vCPU: one ECS CPU unit is 125, one millicore is 128, both exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Cpu(u64);

/// An amount of memory or data in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Bytes(u64);

/// An amount of money in nano-dollars (US, before tax).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Usd(i64);

impl Cpu {
    /// No CPU.
    pub const ZERO: Self = Self(0);
    /// Parts of one vCPU.
    pub const PER_VCPU: u64 = 128_000;

    /// From ECS CPU units (1,024 = 1 vCPU).
    #[must_use]
    pub const fn from_units(units: u64) -> Self {
        Self(units * 125)
    }

    /// From Kubernetes millicores (1,000 = 1 vCPU).
    #[must_use]
    pub const fn from_millicores(m: u64) -> Self {
        Self(m * 128)
    }

    /// From whole vCPUs.
    #[must_use]
    pub const fn from_vcpus(n: u64) -> Self {
        Self(n * Self::PER_VCPU)
    }

    /// From 1/128,000 vCPU.
    #[must_use]
    pub const fn from_parts(parts: u64) -> Self {
        Self(parts)
    }

    /// In 1/128,000 vCPU.
    #[must_use]
    pub const fn parts(self) -> u64 {
        self.0
    }

    /// In vCPUs.
    #[must_use]
    pub fn vcpus(self) -> f64 {
        self.0 as f64 / Self::PER_VCPU as f64
    }

    /// In ECS CPU units, rounded to the nearest.
    #[must_use]
    pub const fn units(self) -> u64 {
        (self.0 + 62) / 125
    }
}

impl Bytes {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From MiB (1,048,576 bytes).
    #[must_use]
    pub const fn from_mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// From GiB (1,073,741,824 bytes); the GB of ECS task memory.
    #[must_use]
    pub const fn from_gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// From decimal megabytes (10^6 bytes): images, network, logs.
    #[must_use]
    pub const fn from_mb(n: u64) -> Self {
        Self(n * 1_000_000)
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In MiB.
    #[must_use]
    pub fn mib(self) -> f64 {
        self.0 as f64 / f64::from(1 << 20)
    }

    /// In decimal gigabytes (10^9 bytes).
    #[must_use]
    pub fn gb(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From nano-dollars.
    #[must_use]
    pub const fn from_nanos(n: i64) -> Self {
        Self(n)
    }

    /// In nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// In dollars, for output and ratios.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

macro_rules! linear {
    ($name:ident) => {
        impl Add for $name {
            type Output = Self;
            fn add(self, o: Self) -> Self {
                Self(self.0 + o.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, o: Self) {
                self.0 += o.0;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::default(), Add::add)
            }
        }
    };
}
linear!(Cpu);
linear!(Bytes);
linear!(Usd);

impl Sub for Usd {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self(self.0 - o.0)
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, o: Self) {
        self.0 -= o.0;
    }
}

impl Neg for Usd {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Cpu {
    /// This amount minus `other`, zero if `other` is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Bytes {
    /// This amount minus `other`, zero if `other` is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Cpu {
    type Output = Self;
    fn mul(self, n: u64) -> Self {
        Self(self.0 * n)
    }
}

impl Mul<u64> for Bytes {
    type Output = Self;
    fn mul(self, n: u64) -> Self {
        Self(self.0 * n)
    }
}
