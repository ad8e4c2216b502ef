//! What nearly every part of the platform uses. A part that needs more says so in a context of its own ([`context!`]).

use std::sync::Arc;

use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_signals::Queue;
use larder_signals::lifecycle::Lifecycle;
use larder_store::Store;

use crate::bodies::Bodies;
use crate::directory::Directory;
use crate::jobs::fairness::Turns;

/// Cheap to clone.
#[derive(Clone)]
pub struct Common(Arc<Parts>);

pub struct Parts {
    pub settings: Settings,
    pub clock: Clock,
    pub store: Store,
    pub directory: Directory,
    pub queue: Queue,
    pub turns: Turns,
    pub bodies: Bodies,
    pub life: Lifecycle,
    /// Under which this process holds leases.
    pub holder: String,
}

impl Common {
    pub fn new(parts: Parts) -> Common {
        Common(Arc::new(parts))
    }
}

impl std::ops::Deref for Common {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// A struct of what one part uses beside [`Common`], which it derefs to.
macro_rules! context {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            pub common: $crate::common::Common,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl std::ops::Deref for $name {
            type Target = $crate::common::Common;

            fn deref(&self) -> &Self::Target {
                &self.common
            }
        }
    };
}
pub(crate) use context;
