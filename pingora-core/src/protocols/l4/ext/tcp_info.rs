//! The statistics Linux keeps of a TCP connection, in the layout of `struct tcp_info`.

/// What the kernel knows of a TCP connection.
///
/// Fields are named as in the kernel (`include/uapi/linux/tcp.h`); those an older kernel does not
/// know are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct TCP_INFO {
    /// The state of the connection, numbered as in the kernel (1 is established).
    pub tcpi_state: u8,
    /// The state of congestion avoidance, numbered as in the kernel.
    pub tcpi_ca_state: u8,
    /// How often the oldest unacknowledged segment was sent again.
    pub tcpi_retransmits: u8,
    /// How many window or keepalive probes are unanswered.
    pub tcpi_probes: u8,
    /// How often the retransmission timeout was doubled.
    pub tcpi_backoff: u8,
    /// The TCP options in use, one bit each.
    pub tcpi_options: u8,
    /// The window scales: the remote one in one half, ours in the other.
    pub tcpi_snd_wscale_4_rcv_wscale_4: u8,
    /// In its lowest bit, whether the delivery rate was limited by the application; in the next
    /// two, why TCP Fast Open failed.
    pub tcpi_delivery_rate_app_limited: u8,
    /// The retransmission timeout in microseconds.
    pub tcpi_rto: u32,
    /// The delayed acknowledgement timeout in microseconds.
    pub tcpi_ato: u32,
    /// The maximum segment size for sending, in bytes.
    pub tcpi_snd_mss: u32,
    /// The maximum segment size seen, in bytes.
    pub tcpi_rcv_mss: u32,
    /// Segments sent and not acknowledged.
    pub tcpi_unacked: u32,
    /// Segments acknowledged selectively.
    pub tcpi_sacked: u32,
    /// Segments thought lost.
    pub tcpi_lost: u32,
    /// Segments sent again and not acknowledged.
    pub tcpi_retrans: u32,
    /// Not used by current kernels.
    pub tcpi_fackets: u32,
    /// Milliseconds since data was sent.
    pub tcpi_last_data_sent: u32,
    /// Not used by current kernels.
    pub tcpi_last_ack_sent: u32,
    /// Milliseconds since data was received.
    pub tcpi_last_data_recv: u32,
    /// Milliseconds since an acknowledgement was received.
    pub tcpi_last_ack_recv: u32,
    /// The path MTU in bytes.
    pub tcpi_pmtu: u32,
    /// The limit of the receive window in bytes.
    pub tcpi_rcv_ssthresh: u32,
    /// The smoothed round trip time in microseconds.
    pub tcpi_rtt: u32,
    /// The variation of the round trip time in microseconds.
    pub tcpi_rttvar: u32,
    /// The slow start threshold in segments.
    pub tcpi_snd_ssthresh: u32,
    /// The congestion window in segments.
    pub tcpi_snd_cwnd: u32,
    /// The maximum segment size announced, in bytes.
    pub tcpi_advmss: u32,
    /// By how many segments data may be reordered before it counts as lost.
    pub tcpi_reordering: u32,
    /// The round trip time estimated by the receiver, in microseconds.
    pub tcpi_rcv_rtt: u32,
    /// The receive buffer needed, in bytes, as estimated by the kernel.
    pub tcpi_rcv_space: u32,
    /// Segments sent again, in all.
    pub tcpi_total_retrans: u32,
    /// The rate of sending in bytes a second.
    pub tcpi_pacing_rate: u64,
    /// The limit of the rate of sending in bytes a second.
    pub tcpi_max_pacing_rate: u64,
    /// Bytes acknowledged by the remote side (RFC 4898 tcpEStatsAppHCThruOctetsAcked).
    pub tcpi_bytes_acked: u64,
    /// Bytes received (RFC 4898 tcpEStatsAppHCThruOctetsReceived).
    pub tcpi_bytes_received: u64,
    /// Segments sent (RFC 4898 tcpEStatsPerfSegsOut).
    pub tcpi_segs_out: u32,
    /// Segments received (RFC 4898 tcpEStatsPerfSegsIn).
    pub tcpi_segs_in: u32,
    /// Bytes written and not sent.
    pub tcpi_notsent_bytes: u32,
    /// The shortest round trip time in microseconds.
    pub tcpi_min_rtt: u32,
    /// Segments with data received (RFC 4898 tcpEStatsDataSegsIn).
    pub tcpi_data_segs_in: u32,
    /// Segments with data sent (RFC 4898 tcpEStatsDataSegsOut).
    pub tcpi_data_segs_out: u32,
    /// The rate of delivery in bytes a second.
    pub tcpi_delivery_rate: u64,
    /// Microseconds in which data was in flight.
    pub tcpi_busy_time: u64,
    /// Microseconds in which the remote window limited sending.
    pub tcpi_rwnd_limited: u64,
    /// Microseconds in which the send buffer limited sending.
    pub tcpi_sndbuf_limited: u64,
    /// Segments delivered.
    pub tcpi_delivered: u32,
    /// Segments delivered with a congestion mark (RFC 3168).
    pub tcpi_delivered_ce: u32,
    /// Bytes sent, those sent again included (RFC 4898 tcpEStatsPerfHCDataOctetsOut).
    pub tcpi_bytes_sent: u64,
    /// Bytes sent again (RFC 4898 tcpEStatsPerfOctetsRetrans).
    pub tcpi_bytes_retrans: u64,
    /// Segments the remote side had already (RFC 4898 tcpEStatsStackDSACKDups).
    pub tcpi_dsack_dups: u32,
    /// How often segments were seen out of order.
    pub tcpi_reord_seen: u32,
    /// Segments received out of order.
    pub tcpi_rcv_ooopack: u32,
    /// The window of the remote side in bytes.
    pub tcpi_snd_wnd: u32,
    /// Our window in bytes.
    pub tcpi_rcv_wnd: u32,
}

impl TCP_INFO {
    /// Returns a value with all fields zero.
    ///
    /// # Safety
    /// There is no precondition: the function is `unsafe` only because its signature is fixed.
    pub unsafe fn new() -> Self {
        // SAFETY: all fields are integers, for which zero is a value.
        unsafe { std::mem::zeroed() }
    }

    /// Returns the size of the structure in bytes, as system calls take it.
    pub fn len() -> libc::socklen_t {
        std::mem::size_of::<TCP_INFO>() as libc::socklen_t
    }
}
