//! Who a request over the network is for, and what of it is granted or public.

pub mod address;
pub mod authority;
pub mod hop_by_hop;
pub mod http_rule;
