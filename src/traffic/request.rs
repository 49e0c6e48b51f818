//! The records of requests, in a slab that reuses its slots.

/// No index.
pub(super) const NONE: u32 = u32::MAX;

/// Marks a [`Request::caller`] that is a call of another service.
pub(super) const CALL: u32 = 1 << 31;

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The slot is free.
    Free,
    /// In the accept queue of its server.
    Queued,
    /// On the CPU of its server.
    Running,
    /// In its server, waiting outside of the CPU.
    Waiting,
    /// In its server, waiting for the answers of the services that it calls.
    Calling,
    /// Waiting for a connection of its caller's pool.
    Pooled,
    /// Waiting for a connection that will not come about.
    Connecting,
    /// At an external target group.
    External,
    /// Between two attempts.
    Backoff,
    /// Nobody takes the connection: the balancer node that the client was sent to is lost.
    NoEntry,
    /// The target does not take the balancer's connection.
    Hanging,
    /// Its server was lost with it, and no answer will come.
    Stranded,
    /// Answered, but the client's time-out ends before the answer reaches it.
    Late,
}

/// One attempt at a request: 64 bytes, one cache line.
///
/// The record of an attempt whose client has gone stays with its server as an orphan; a retry then gets a record of its
/// own with the same seed. Its deadline is `sent` plus the limit of its front.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Request {
    /// From which every draw of the request comes. For a probe: the caller's token.
    pub(super) seed: u64,
    /// When the request began (its first attempt), nanoseconds.
    pub(super) born: u64,
    /// When this attempt was sent, nanoseconds.
    pub(super) sent: u64,
    /// Attained service of the server at which the CPU work ends.
    pub(super) mark: f64,
    /// Memory held in the server, bytes.
    pub(super) memory: u64,
    pub(super) server: u32,
    /// Who waits for the answer: a user of a closed population, a call of another service ([`CALL`]), or [`NONE`] for an
    /// open source.
    pub(super) caller: u32,
    /// The class over all services; [`NONE`] for a health check.
    pub(super) class: u32,
    pub(super) service: u16,
    /// By which way it came: whose time-outs and retries hold.
    pub(super) front: u16,
    /// 0 for the first; a call begins elsewhere, so that its caller's retries do not repeat its draws.
    pub(super) attempt: u16,
    pub(super) stage: Stage,
    /// Nobody waits for the answer any more.
    pub(super) orphan: bool,
}

/// The slab. Freed slots are reused last in, first out, which keeps them in the cache.
#[derive(Clone, Debug, Default)]
pub(super) struct Slab {
    slots: Vec<Request>,
    /// Grows whenever what was scheduled for the record in a slot has become stale. Apart from the records: it is asked
    /// for much more often than the record behind it.
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Slab {
    /// Takes a slot.
    #[inline]
    pub(super) fn insert(&mut self, request: Request) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = request;
                at
            }
            None => {
                self.slots.push(request);
                self.generations.push(0);
                (self.slots.len() - 1) as u32
            }
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, at: u32) {
        self.stale(at);
        self.slots[at as usize].stage = Stage::Free;
        self.free.push(at);
    }

    /// Makes stale whatever is scheduled for the record in a slot.
    #[inline]
    pub(super) fn stale(&mut self, at: u32) {
        let generation = &mut self.generations[at as usize];
        *generation = generation.wrapping_add(1);
    }

    #[inline]
    pub(super) fn generation(&self, at: u32) -> u32 {
        self.generations[at as usize]
    }

    /// The record, if it still is of that generation.
    #[inline]
    pub(super) fn current(&self, at: u32, generation: u32) -> Option<&Request> {
        self.slots.get(at as usize).filter(|_| self.generations[at as usize] == generation)
    }

    /// Slots in use and free, for scans.
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }
}

impl std::ops::Index<u32> for Slab {
    type Output = Request;
    #[inline]
    fn index(&self, at: u32) -> &Request {
        &self.slots[at as usize]
    }
}

impl std::ops::IndexMut<u32> for Slab {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut Request {
        &mut self.slots[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_cache_line() {
        assert_eq!(size_of::<Request>(), 64);
    }
}
