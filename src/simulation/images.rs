//! Images on a container instance: what is there already, and how long the rest takes to come.
//!
//! Rule: an image that was pulled once on an instance is not pulled again; a task that wants an image
//! which is on its way waits for that pull. An instance has one line to the registry: pulls follow one
//! another, download first, then unpacking.
//!
//! Source: ECS developer guide, `ecs-agent-config` (`ECS_IMAGE_PULL_BEHAVIOR`). Known departures: layers
//! that images share are not known, so an image is cached whole or not at all; pulls that run at the
//! same time in reality share the line, here the earlier one goes first, and both end when the later
//! one would; nothing is ever cleaned up.

use crate::kernel::{SimDuration, SimTime};
use crate::units::{Bytes, ServiceId};

use super::start::pull_time;

/// Which image: that of a revision's main container, or of a container beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageKey {
    /// The main container of a service's revision.
    Main(ServiceId, u32),
    /// A container beside it, by its position; the same in every revision.
    Beside(ServiceId, u32),
}

/// An image that a task wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) key: ImageKey,
    /// Compressed size.
    pub(super) size: Bytes,
    /// Share of it that must be there before its container starts.
    pub(super) share: f64,
}

/// The images of one instance.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageCache {
    /// Images and when they are there.
    images: Vec<(ImageKey, SimTime)>,
    /// When the line is free.
    free_at: SimTime,
}

impl ImageCache {
    /// Puts an image there at once.
    pub(super) fn put(&mut self, key: ImageKey, now: SimTime) {
        if !self.images.iter().any(|(k, _)| *k == key) {
            self.images.push((key, now));
        }
    }

    /// Asks for the images of a task: when they are all there, and how many bytes are pulled for it.
    pub(super) fn pull(
        &mut self,
        now: SimTime,
        wanted: impl Iterator<Item = Wanted>,
        pull: Bytes,
        unpack: Bytes,
    ) -> (SimTime, Bytes) {
        let (mut there, mut bytes) = (now, Bytes::ZERO);
        for w in wanted {
            if let Some((_, at)) = self.images.iter().find(|(k, _)| *k == w.key) {
                there = there.max(*at);
                continue;
            }
            let takes: SimDuration = pull_time(std::iter::once((w.size, w.share)), pull, unpack);
            let at = self.free_at.max(now) + takes;
            self.free_at = at;
            self.images.push((w.key, at));
            there = there.max(at);
            bytes += w.size;
        }
        (there, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main(revision: u32) -> Wanted {
        Wanted { key: ImageKey::Main(ServiceId(0), revision), size: Bytes::from_mb(100), share: 1.0 }
    }

    fn ask(cache: &mut ImageCache, at: u64, wanted: &[Wanted]) -> (u64, u64) {
        // 10 s down, 10 s unpacking for 100 MB.
        let line = Bytes::from_mb(10);
        let (there, bytes) = cache.pull(SimTime::from_secs(at), wanted.iter().copied(), line, line);
        (there.as_nanos() / 1_000_000_000, bytes.get() / 1_000_000)
    }

    #[test]
    fn an_image_is_pulled_once() {
        let mut cache = ImageCache::default();
        assert_eq!(ask(&mut cache, 0, &[main(0)]), (20, 100));
        assert_eq!(ask(&mut cache, 5, &[main(0)]), (20, 0), "it waits for the pull that is under way");
        assert_eq!(ask(&mut cache, 50, &[main(0)]), (50, 0), "it is there");
        assert_eq!(ask(&mut cache, 50, &[main(1)]), (70, 100), "another revision has another image");
    }

    #[test]
    fn pulls_share_one_line() {
        let mut cache = ImageCache::default();
        assert_eq!(ask(&mut cache, 0, &[main(0)]), (20, 100));
        assert_eq!(ask(&mut cache, 10, &[main(1)]), (40, 100));
        cache.put(ImageKey::Main(ServiceId(0), 7), SimTime::from_secs(11));
        assert_eq!(ask(&mut cache, 12, &[main(7)]), (12, 0));
    }
}
