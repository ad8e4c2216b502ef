//! The place of a queued run among those of its process.

/// Held while a guest runs; dropping it frees the place.
pub struct Slot(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Slot {
    /// `free` is called once, when the slot is dropped.
    pub fn new(free: impl FnOnce() + Send + Sync + 'static) -> Slot {
        Slot(Some(Box::new(free)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(free) = self.0.take() {
            free();
        }
    }
}
