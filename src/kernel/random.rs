//! Named random streams.
//!
//! A stream is the pure function of (seed, replication, name): adding a policy, a service or a
//! stream never moves the draws of another. Inside the request path nothing is drawn from a stream
//! in call order: a request gets one 64-bit seed at birth, and every later draw for it is a [`Draw`],
//! a hash of that seed with the purpose, so that two policies that serve it differently still give
//! it the same work.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator of all model draws: Xoshiro256++, whose output is fixed by its publication.
pub type Stream = Xoshiro256PlusPlus;

/// The streams of one replication of one simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
    replication: u64,
}

impl Streams {
    /// The streams of replication number `replication` under `seed`.
    #[must_use]
    pub fn new(seed: u64, replication: u64) -> Self {
        Self { seed, replication }
    }

    /// The stream called `name`, from its beginning. Names are paths by meaning, such as
    /// `arrivals/web` or `launch/web`.
    #[must_use]
    pub fn stream(&self, name: &str) -> Stream {
        Stream::from_seed(self.derive(name))
    }

    /// One 64-bit number for `name`: the root of a family of [`Draw`]s.
    #[must_use]
    pub fn root(&self, name: &str) -> u64 {
        let bytes = self.derive(name);
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[..8]);
        u64::from_le_bytes(first)
    }

    fn derive(&self, name: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("simctl random stream v1");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&self.replication.to_le_bytes());
        hasher.update(name.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// A draw keyed by what it is for, independent of when it is asked for.
///
/// The mix is a 64-bit finaliser (two multiplications and three shifts), applied once per key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// Starts from the seed of an entity (a request, a task, a pool).
    #[inline]
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The draw for `key`: a purpose, an attempt, a hop, a launch number.
    #[inline]
    #[must_use]
    pub const fn of(self, key: u64) -> Self {
        let mut z = self.0 ^ key.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(z ^ (z >> 31))
    }

    /// The 64 bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// As a number strictly between 0 and 1.
    #[inline]
    #[must_use]
    pub fn unit(self) -> f64 {
        unit_f64(self.0)
    }
}

/// Maps 64 random bits to a double strictly between 0 and 1 (52 bits, centred in their cells).
#[inline]
#[must_use]
pub fn unit_f64(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// Helpers on a [`Stream`] for the few draws that are made in sequence.
pub trait StreamExt {
    /// The next number strictly between 0 and 1.
    fn unit(&mut self) -> f64;
    /// The next unit-mean exponential variate.
    fn exponential(&mut self) -> f64;
}

impl StreamExt for Stream {
    #[inline]
    fn unit(&mut self) -> f64 {
        unit_f64(self.next_u64())
    }

    #[inline]
    fn exponential(&mut self) -> f64 {
        -libm::log(self.unit())
    }
}
