//! What keeps two peers from sharing a connection, as one number.
//!
//! The number is the only key of the connection pools, and a part of what it is made from may
//! come from a client (the server name of a forward proxy). So collisions must not be computable:
//! [`SeededHasher`] is seeded anew in each process. It multiplies 64 by 64 bits and folds the 128
//! bits of the product, eight bytes at a time, which costs a few nanoseconds a peer; SipHash, the
//! default of the standard library, costs a multiple of that.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;

use super::PeerOptions;
use crate::backend::cert::hash_ca;
use crate::connectors::l4::BindTo;

/// A fast hasher with a seed of its own in each process.
#[derive(Clone, Debug)]
pub(super) struct SeededHasher {
    state: u64,
    multiplier: u64,
}

impl SeededHasher {
    /// Returns the hasher of this process.
    pub(super) fn new() -> Self {
        static SEED: OnceLock<(u64, u64)> = OnceLock::new();
        let (state, multiplier) = *SEED.get_or_init(|| {
            let random = RandomState::new();
            // odd, so that no bit of the input is lost
            (random.hash_one(1), random.hash_one(2) | 1)
        });
        SeededHasher { state, multiplier }
    }

    fn mix(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.multiplier).rotate_left(23) ^ self.multiplier;
    }
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        // The length keeps the padding of the last word from being taken for data.
        let mut words = bytes.chunks_exact(8);
        let mut length = bytes.len() as u64;
        for word in &mut words {
            self.mix(u64::from_le_bytes(
                word.try_into().expect("chunks of eight bytes"),
            ));
        }
        let tail = words.remainder();
        if !tail.is_empty() {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            self.mix(u64::from_le_bytes(word));
            length |= 1 << 63;
        }
        self.mix(length);
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.state, self.multiplier.rotate_left(32) | 1) ^ self.state.rotate_left(17)
    }
}

/// Returns both halves of the 128-bit product, combined.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// Adds the options that separate connections.
///
/// Not among them are those that do not change what a connection is (timeouts, keep-alive,
/// buffers, tracer, hooks, header policies) and `extra_proxy_headers`.
pub(super) fn hash_options<H: Hasher>(options: &PeerOptions, state: &mut H) {
    let flags = [
        options.verify_cert,
        options.verify_hostname,
        options.second_keyshare,
        options.custom_l4.is_some(),
        options.ca.is_some(),
        options.bind_to.is_some(),
        options.use_system_certs,
        options.psk.is_some(),
    ];
    state.write_u8(
        flags
            .iter()
            .fold(0, |bits, &flag| bits << 1 | u8::from(flag)),
    );
    options.max_blinding_delay.hash(state);
    if let Some(keys) = &options.psk {
        keys.hash(state);
    }
    if let Some(policy) = &options.s2n_security_policy {
        // The library tells the name of a policy only so.
        format!("{policy:?}").hash(state);
    }
    options.alternative_cn.hash(state);
    options.alpn.hash(state);
    options.curves.hash(state);
    options.dscp.hash(state);
    options.max_h2_streams.hash(state);
    if let Some(header) = &options.proxy_protocol {
        header.hash(state);
    }
    if let Some(ca) = &options.ca {
        hash_ca(ca, state);
    }
    if let Some(bind_to) = &options.bind_to {
        hash_bind(bind_to, state);
    }
}

fn hash_bind<H: Hasher>(bind_to: &BindTo, state: &mut H) {
    bind_to.addr.hash(state);
    bind_to.port_range().hash(state);
    bind_to.will_fallback().hash(state);
}
