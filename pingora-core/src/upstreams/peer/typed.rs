//! Looking at an address argument whose type is only known to be [`ToSocketAddrs`].
//!
//! Asking a string for its socket addresses blocks the thread on DNS. So the types that hold a
//! host name are recognised by their type id, and the name is taken out of them instead. This
//! needs the one unsafe block of the folder, in [`view`].

use std::net::ToSocketAddrs;

use super::target::Target;
use crate::protocols::l4::socket::SocketAddr;

/// Returns where `address` points to, without a DNS lookup for the types that hold a name.
///
/// Other types are asked for their addresses here and now; the first is taken. A type of the
/// user's that does a lookup itself blocks while it does.
pub(super) fn target_of<A: ToSocketAddrs>(address: &A) -> Target {
    known_type(address).unwrap_or_else(|| match address.to_socket_addrs() {
        Ok(mut all) => match all.next() {
            Some(first) => Target::from(first),
            None => Target::invalid("the address of the peer is an empty list"),
        },
        Err(e) => Target::invalid(&format!(
            "the address of the peer has no socket address: {e}"
        )),
    })
}

/// Returns the target of the types of the standard library and ours that hold text.
fn known_type<A>(address: &A) -> Option<Target> {
    if let Some(text) = view::<A, &str>(address) {
        return Some(Target::parse(text));
    }
    if let Some(text) = view::<A, String>(address) {
        return Some(Target::parse(text));
    }
    if let Some(text) = view::<A, &String>(address) {
        return Some(Target::parse(text));
    }
    if let Some(text) = view::<A, &&str>(address) {
        return Some(Target::parse(text));
    }
    if let Some((host, port)) = view::<A, (&str, u16)>(address) {
        return Some(Target::from_host_port(host, *port));
    }
    if let Some((host, port)) = view::<A, (String, u16)>(address) {
        return Some(Target::from_host_port(host, *port));
    }
    if let Some((host, port)) = view::<A, &(&str, u16)>(address) {
        return Some(Target::from_host_port(host, *port));
    }
    if let Some((host, port)) = view::<A, &(String, u16)>(address) {
        return Some(Target::from_host_port(host, *port));
    }
    if let Some(address) = view::<A, SocketAddr>(address) {
        return Some(Target::Address(address.clone()));
    }
    if let Some(address) = view::<A, &SocketAddr>(address) {
        return Some(Target::Address((*address).clone()));
    }
    None
}

/// Returns `value` as a `U`, when its type `T` is `U` but for lifetimes.
///
/// For this file only: `U` must not claim a longer lifetime than what `value` holds. The callers
/// above let the compiler infer the lifetimes and keep nothing of the result.
fn view<T, U>(value: &T) -> Option<&U> {
    if typeid::of::<T>() != typeid::of::<U>() {
        return None;
    }
    // SAFETY: equal type ids mean the same type but for lifetimes, so layout and validity are the
    // same; the reference lives as long as `value` is borrowed. Lifetimes inside `U` are inferred
    // in `known_type` alone, which copies what it needs before `value` can end.
    Some(unsafe { &*std::ptr::from_ref(value).cast::<U>() })
}
