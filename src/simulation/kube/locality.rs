//! Images of nodes as the scheduler sees them: what was pulled on a node counts for pods that want it again.
//!
//! Source: kube-scheduler, plugin ImageLocality; kubelet, `status.images`. Known departures: a node lists an image as soon as its
//! pull has ended (a kubelet tells within ten seconds), at its compressed size, and keeps it.

use super::super::Simulation;
use super::super::images::{ImageKey, Wanted};
use crate::kubernetes::object::Symbol;
use crate::kubernetes::scheduler::{Node as KubeNode, ShapeId};
use crate::units::{NodeId, ServiceId, TaskId};

impl Simulation<'_> {
    /// The name of an image: that of its service, with its revision or the container as the tag.
    fn image_symbol(&mut self, key: ImageKey) -> Symbol {
        let (service, tag) = match key {
            ImageKey::Main(service, revision) => (service, format!("r{}", revision + 1)),
            ImageKey::Beside(service, container) => (service, format!("beside{container}")),
        };
        let name = format!("{}:{tag}", self.services[service.index()].name);
        self.kube_mut().scheduler.symbols_mut().intern(&name)
    }

    /// A shape with the images of a pod's revision.
    pub(super) fn with_images(&mut self, task: TaskId, base: ShapeId) -> ShapeId {
        let t = self.cluster.task(task);
        let (service, revision): (ServiceId, u32) = (t.service, t.revision);
        if let Some((of, with, shape)) = self.kube().workloads[service.index()].with_images
            && (of, with) == (base, revision)
        {
            return shape;
        }
        let wanted = self.wanted_images(task);
        let images: Vec<Symbol> = wanted.iter().map(|w| self.image_symbol(w.key)).collect();
        let kube = self.kube_mut();
        let Some(mut spec) = kube.scheduler.shape(base).cloned() else { return base };
        spec.images = images;
        let shape = kube.add_shape(spec);
        kube.workloads[service.index()].with_images = Some((base, revision, shape));
        shape
    }

    /// The images of a pod are on its node.
    pub(in crate::simulation) fn node_has_images(&mut self, task: TaskId, node: NodeId) {
        let wanted: Vec<Wanted> = self.wanted_images(task);
        let Some(seat) = self.kube().seat_of(node) else { return };
        let names: Vec<(Symbol, i64)> = wanted
            .iter()
            .map(|w| (self.image_symbol(w.key), i64::try_from(w.size.get()).unwrap_or(i64::MAX)))
            .collect();
        let scheduler = &mut self.kube_mut().scheduler;
        let Some(seen) = scheduler.node(seat) else { return };
        let new: Vec<(Symbol, i64)> =
            names.into_iter().filter(|(name, _)| !seen.images.iter().any(|(i, _)| i == name)).collect();
        if new.is_empty() {
            return;
        }
        let mut seen: KubeNode = seen.clone();
        seen.images.extend(new);
        scheduler.update_node(seat, seen);
    }
}
