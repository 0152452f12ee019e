//! Dates in the form HTTP writes (RFC 9110 section 5.6.7, IMF-fixdate) as seconds since 1970.
//! The calendar arithmetic counts years from March, as Howard Hinnant's "chrono-compatible low-level date
//! algorithms" do. Tests compare with the `httpdate` crate.

/// Bytes of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const LENGTH: usize = 29;

const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const DAY: u32 = 86_400;

/// Returns the seconds of a date that [`format`] writes exactly like this.
pub(crate) fn parse(text: &[u8]) -> Option<u32> {
    let text: &[u8; LENGTH] = text.try_into().ok()?;
    if text[26..] != *b"GMT" {
        return None;
    }
    let day = number(&text[5..7])?;
    let month = MONTHS
        .chunks_exact(3)
        .position(|name| *name == text[8..11])? as u32;
    let year = number(&text[12..16])?;
    let (hour, minute, second) = (
        number(&text[17..19])?,
        number(&text[20..22])?,
        number(&text[23..25])?,
    );
    if !(1970..=2104).contains(&year) || day == 0 {
        return None;
    }
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    // What was not looked at, and 30 February, shows here.
    (format(seconds) == *text).then_some(seconds)
}

/// Returns the date of these seconds.
pub(crate) fn format(seconds: u32) -> [u8; LENGTH] {
    let (days, time) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    let mut text = *b"www, dd mmm yyyy hh:mm:ss GMT";
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&WEEKDAYS[weekday..weekday + 3]);
    put(&mut text[5..7], day);
    text[8..11].copy_from_slice(&MONTHS[month as usize * 3..month as usize * 3 + 3]);
    put(&mut text[12..14], year / 100);
    put(&mut text[14..16], year % 100);
    put(&mut text[17..19], time / 3600);
    put(&mut text[20..22], time / 60 % 60);
    put(&mut text[23..25], time % 60);
    text
}

/// Returns the days from 1970 to a date whose month counts from 0.
fn days(year: u32, month: u32, day: u32) -> u32 {
    // Years and months from March 1600, so that leap days come last.
    let (years, months) = if month < 2 {
        (year - 1601, month + 10)
    } else {
        (year - 1600, month - 2)
    };
    let of_years = years * 365 + years / 4 - years / 100 + years / 400;
    let of_months = (153 * months + 2) / 5;
    of_years + of_months + day - 1 - DAYS_BEFORE_1970
}

/// Days from 1 March 1600 to 1 January 1970.
const DAYS_BEFORE_1970: u32 = 135_080;

/// Returns year, month from 0, and day of a day counted from 1970.
fn civil(days: u32) -> (u32, u32, u32) {
    let days = days + DAYS_BEFORE_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let year = 1600 + era * 400 + year_of_era;
    if months < 10 {
        (year, months + 2, day)
    } else {
        (year + 1, months - 10, day)
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

fn put(digits: &mut [u8], number: u32) {
    digits[0] = b'0' + (number / 10) as u8;
    digits[1] = b'0' + (number % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    proptest! {
        #[test]
        fn agrees_with_httpdate(seconds in 0..4_260_211_200u32) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            let text = httpdate::fmt_http_date(time);
            prop_assert_eq!(&format(seconds)[..], text.as_bytes());
            prop_assert_eq!(parse(text.as_bytes()), Some(seconds));
        }

        #[test]
        fn takes_only_what_it_writes(text in "[A-Z][a-z]{2}, [0-9]{2} (Feb|Nov|Dec) (19|20|21)[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT") {
            if let Some(seconds) = parse(text.as_bytes()) {
                prop_assert_eq!(&format(seconds)[..], text.as_bytes());
            }
        }
    }

    #[test]
    fn every_number_of_seconds_is_a_date() {
        assert_eq!(&format(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&format(u32::MAX), b"Sun, 07 Feb 2106 06:28:15 GMT");
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    }

    #[test]
    fn other_forms_are_not_dates() {
        for text in [
            "",
            "0",
            "-1",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Wed, 30 Feb 2000 00:00:00 GMT",
            "Wed, 00 Feb 2000 00:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08-49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Thu, 01 Jan 2900 00:00:00 GMT",
            "Sun, 06 Nov 1994 99:99:99 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
