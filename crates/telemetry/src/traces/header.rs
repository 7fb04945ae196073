//! The header `traceparent` of the W3C's Trace Context, version 00.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// What a call is part of.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a header says, if it is one and there is only one.
pub(super) fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split('-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let lower = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let shaped = lower(version, 2) && lower(trace, 32) && lower(span, 16) && lower(flags, 2);
    // later versions may say more
    if !shaped || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

/// Says it.
pub(super) fn write(context: &SpanContext, headers: &mut HeaderMap) {
    let flags = u8::from(context.is_sampled());
    let text = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    // hexadecimal digits are a value
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(TRACEPARENT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> Option<SpanContext> {
        read(&HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(value))]))
    }

    #[test]
    fn what_was_written_is_read() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = of(text).unwrap();
        assert!(context.is_sampled());
        let mut headers = HeaderMap::new();
        write(&context, &mut headers);
        assert_eq!(headers[TRACEPARENT], text);
        assert!(!of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap().is_sampled());
        // a later version with more to say
        assert!(of("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more").unwrap().is_sampled());
    }

    #[test]
    fn what_is_none_is_left_alone() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let mut two = HeaderMap::new();
        for _ in 0..2 {
            let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            two.append(TRACEPARENT, HeaderValue::from_static(value));
        }
        assert_eq!(read(&two), None);
    }
}
