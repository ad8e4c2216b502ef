//! What Larder keeps its state in, and the macro that runs a test on each.

use std::sync::Arc;

use crate::services::{self, Database};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// MariaDB and Redis.
    Services,
    /// SQLite, and wake-ups within the process.
    Embedded,
}

impl Backend {
    /// A database of a test's own, if this has one.
    pub async fn database(self) -> Option<Database> {
        match self {
            Backend::Services => Some(Database::create().await),
            Backend::Embedded => None,
        }
    }
}

/// `both!(name, async |on| { … })`: the test `name::services`, then `name::embedded`, with `on` a [`Backend`].
#[macro_export]
macro_rules! both {
    ($name:ident, async |$on:ident| $body:block) => {
        mod $name {
            use super::*;

            async fn on_each($on: $crate::Backend) {
                $body
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn services() {
                on_each($crate::Backend::Services).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                on_each($crate::Backend::Embedded).await;
            }
        }
    };
}

/// The settings with which a process uses this database and the shared Redis. A lease is as short as it may be, because
/// what a killed process held is taken over only when it has run out.
pub(crate) fn settings(database: &Arc<Database>) -> [(&'static str, String); 4] {
    [
        ("LARDER_DATABASE__URL", database.url()),
        ("LARDER_REDIS__URL", services::redis_url().into()),
        ("LARDER_REDIS__PREFIX", database.name().into()),
        ("LARDER_WORKER__LEASE", "5s".into()),
    ]
}
