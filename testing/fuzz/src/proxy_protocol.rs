//! The PROXY protocol: a cut header is never read as another one, and what is read can be written.

use pingora_core::protocols::proxy_protocol::{ProxyHeader, ProxyProtocolVersion};

/// Takes `data` as the first bytes of a connection.
pub fn proxy_protocol(data: &[u8]) {
    let Ok(Some((header, length))) = ProxyHeader::parse(data) else {
        return;
    };
    assert!(length <= data.len());
    assert_eq!(
        ProxyHeader::parse(&data[..length]),
        Ok(Some((header.clone(), length)))
    );
    for end in 0..length {
        assert_eq!(ProxyHeader::parse(&data[..end]), Ok(None), "cut at {end}");
    }
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        let wire = header.encode(version);
        let (read, length) = ProxyHeader::parse(&wire)
            .expect("our own header")
            .expect("it is whole");
        assert_eq!(length, wire.len());
        assert_eq!(
            (read.source(), read.destination()),
            (header.source(), header.destination())
        );
    }
}
