//! Applies the options that tokio has only with `--cfg tokio_unstable`: its poll time histogram and its
//! alternative timer. Without that cfg they have no effect, and the log says so once.

#[cfg(tokio_unstable)]
use std::time::Duration;

use tokio::runtime::Builder;

#[cfg(tokio_unstable)]
use crate::RuntimeMetricsPollTimeHistogramScale;
use crate::{RuntimeMetricsOpts, RuntimeOpts};

/// Beyond this tokio panics.
#[cfg(tokio_unstable)]
const MAX_RESOLUTION: Duration = Duration::from_secs(1);

#[cfg(tokio_unstable)]
// Only the deprecated setters take a first width and a number of buckets for both scales.
#[allow(deprecated)]
pub(crate) fn configure_metrics(builder: &mut Builder, opts: &RuntimeMetricsOpts) {
    use tokio::runtime::HistogramScale;

    if !opts.poll_time_histogram {
        return;
    }
    builder.enable_metrics_poll_time_histogram();
    if let Some(scale) = opts.poll_time_histogram_scale {
        builder.metrics_poll_count_histogram_scale(match scale {
            RuntimeMetricsPollTimeHistogramScale::Linear => HistogramScale::Linear,
            RuntimeMetricsPollTimeHistogramScale::Log => HistogramScale::Log,
        });
    }
    match opts.poll_time_histogram_resolution {
        None | Some(Duration::ZERO) => {}
        Some(resolution) => {
            builder.metrics_poll_count_histogram_resolution(resolution.min(MAX_RESOLUTION));
        }
    }
    match opts.poll_time_histogram_buckets {
        None | Some(0) => {}
        Some(buckets) => {
            builder.metrics_poll_count_histogram_buckets(buckets);
        }
    }
}

#[cfg(not(tokio_unstable))]
pub(crate) fn configure_metrics(_: &mut Builder, opts: &RuntimeMetricsOpts) {
    if opts.poll_time_histogram {
        warn_without_unstable();
    }
}

/// Applies [`RuntimeOpts::enable_alt_timer`] to a work-stealing runtime.
#[cfg(tokio_unstable)]
pub(crate) fn configure_alt_timer(builder: &mut Builder, opts: &RuntimeOpts) {
    if opts.enable_alt_timer {
        builder.enable_alt_timer();
    }
}

#[cfg(not(tokio_unstable))]
pub(crate) fn configure_alt_timer(_: &mut Builder, opts: &RuntimeOpts) {
    if opts.enable_alt_timer {
        warn_without_unstable();
    }
}

/// Says that a runtime without stealing has no alternative timer.
pub(crate) fn warn_no_alt_timer(opts: &RuntimeOpts) {
    if opts.enable_alt_timer {
        log::warn!("the alternative timer has no effect without work stealing");
    }
}

#[cfg(not(tokio_unstable))]
fn warn_without_unstable() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        log::warn!(
            "runtime options poll_time_histogram and enable_alt_timer have no effect: \
             not built with --cfg tokio_unstable"
        );
    });
}
