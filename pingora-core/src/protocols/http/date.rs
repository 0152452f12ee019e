//! The `Date` header, formatted once a second and thread.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

struct CachedDate {
    valid_until: SystemTime,
    value: HeaderValue,
}

thread_local! {
    static DATE: RefCell<Option<CachedDate>> = const { RefCell::new(None) };
}

/// Returns the current time as the value of a `Date` header (RFC 9110 section 5.6.7).
pub fn get_cached_date() -> HeaderValue {
    let now = SystemTime::now();
    DATE.with_borrow_mut(|cached| {
        if let Some(date) = cached
            && now < date.valid_until
            && now + Duration::from_secs(1) >= date.valid_until
        {
            return date.value.clone();
        }
        let date = format_date(now);
        let value = date.value.clone();
        *cached = Some(date);
        value
    })
}

fn format_date(now: SystemTime) -> CachedDate {
    let since_epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
    CachedDate {
        valid_until: second + Duration::from_secs(1),
        value: HeaderValue::try_from(httpdate::fmt_http_date(second))
            .expect("an HTTP date is visible ASCII"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_imf_fixdate() {
        let date = format_date(SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900));
        assert_eq!(date.value, "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn is_the_current_second() {
        let parsed = httpdate::parse_http_date(get_cached_date().to_str().unwrap()).unwrap();
        assert!(SystemTime::now().duration_since(parsed).unwrap() < Duration::from_secs(60));
    }
}
