//! What a host function gives when the host could not do its part.

/// Ends the run with [`larder_model::Failure::Host`], so that it is tried again and the guest never learns of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostFault(pub String);
