//! How long a provider asks to be left alone, in each of the ways in which it is said.

use std::time::Duration;

use http::{HeaderMap, header};

/// Longest wait that a provider may ask for.
const MAX: Duration = Duration::from_secs(60);

/// The wait asked for, at most a minute. Milliseconds are preferred: Azure sends them beside rounded seconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| text.parse::<f64>().ok();
    let milliseconds = text("retry-after-ms").or_else(|| text("x-ms-retry-after-ms")).and_then(seconds);
    let asked = text(header::RETRY_AFTER.as_str());
    milliseconds.and_then(|ms| wait(ms / 1000.0)).or_else(|| asked.and_then(seconds).and_then(wait)).or_else(
        || {
            let until = httpdate::parse_http_date(asked?).ok()?;
            // by the provider's own clock, which may differ from ours
            let now = httpdate::parse_http_date(text(header::DATE.as_str())?).ok()?;
            Some(until.duration_since(now).unwrap_or_default().min(MAX))
        },
    )
}

fn wait(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(MAX).min(MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let header = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        retry_after(&headers.iter().copied().map(header).collect())
    }

    #[test]
    fn a_wait_is_read_in_every_form() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = ("retry-after", "Sun, 06 Nov 1994 08:49:41 GMT");
        for (headers, expected) in [
            (&[("retry-after", "7")][..], Some(Duration::from_secs(7))),
            (&[("retry-after", " 0 ")], Some(Duration::ZERO)),
            (&[("retry-after", "1.5")], Some(Duration::from_millis(1500))),
            (&[("retry-after-ms", "250"), ("retry-after", "1")], Some(Duration::from_millis(250))),
            (&[("x-ms-retry-after-ms", "1400")], Some(Duration::from_millis(1400))),
            (&[("retry-after-ms", "soon"), ("retry-after", "3")], Some(Duration::from_secs(3))),
            (&[date, later], Some(Duration::from_secs(4))),
            (&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")], Some(Duration::ZERO)),
            (&[later], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "tomorrow")], None),
            (&[], None),
        ] {
            assert_eq!(asked(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_wait_is_capped() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for headers in [
            &[("retry-after", "86400")][..],
            &[("retry-after", "1e300")],
            &[("retry-after", "inf")],
            &[("retry-after-ms", "999999999")],
            &[date, ("retry-after", "Mon, 07 Nov 1994 08:49:37 GMT")],
        ] {
            assert_eq!(asked(headers), Some(MAX), "{headers:?}");
        }
    }
}
