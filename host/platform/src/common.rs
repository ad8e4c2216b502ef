//! The context that nearly every part of the platform uses. A part that needs more declares its own ([`context!`]).

use std::sync::Arc;

use larder_model::ids::PartnerId;
use larder_model::settings::Settings;
use larder_model::time::Clock;
use larder_model::zones::Zones;
use larder_secrets::Secrets;
use larder_signals::Signals;
use larder_signals::lifecycle::Lifecycle;
use larder_store::Store;

use crate::bodies::Bodies;
use crate::directory::Directory;
use crate::jobs::fairness::Fairness;
use crate::rates::Rates;
use crate::tls::Certificates;

/// On whose behalf the installation itself calls out. No partner can have this id.
pub fn operator() -> PartnerId {
    "OPERATOR".parse().expect("an id")
}

/// Whose something is: a partner's or, with `None`, the operator's.
pub type Owner = Option<PartnerId>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Common(Arc<Parts>);

pub struct Parts {
    pub settings: Settings,
    pub clock: Clock,
    pub zones: Zones,
    pub store: Store,
    pub directory: Directory,
    pub signals: Signals,
    pub fairness: Fairness,
    pub rates: Rates,
    pub bodies: Bodies,
    pub certificates: Certificates,
    pub life: Lifecycle,
    /// The id under which this process holds leases.
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

/// Declares the context of one part: [`Common`], to which it derefs, and further fields.
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

context! {
    /// The context of services that encrypt or decrypt values.
    Sealer {
        secrets: Secrets,
    }
}
