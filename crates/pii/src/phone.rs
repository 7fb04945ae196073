//! Telephone numbers: shape and separators, checked against numbering plans, or a word that says "call me".
//!
//! Bare digits are everywhere in what agents embed (timestamps, order ids, row ids), so without a `+` they count only
//! beside such a word.

use std::ops::Range;

use crate::context::Words;
use crate::country_codes;
use crate::digits::{Group, Join, Window};

const WORDS: Words = Words {
    hints: &[
        "phone",
        "tel",
        "mobile",
        "mobil",
        "cell",
        "cellphone",
        "fax",
        "whatsapp",
        "signal",
        "telegram",
        "sms",
        "text",
        "call",
        "called",
        "calling",
        "dial",
        "ring",
        "handy",
        "telefon",
        "telefono",
        "celular",
        "hotline",
        "landline",
        "reach",
        "contact",
        "voicemail",
        "pager",
        "portable",
        "ph",
        "mob",
    ],
    prefixes: &["phone", "telephone", "telefon", "mobile", "whatsapp", "cellphone", "rufnummer"],
    vetoes: &[
        "id",
        "ids",
        "order",
        "invoice",
        "ticket",
        "ref",
        "reference",
        "account",
        "acct",
        "tracking",
        "isbn",
        "issn",
        "sku",
        "case",
        "serial",
        "version",
        "timestamp",
        "epoch",
        "time",
        "at",
        "date",
        "price",
        "total",
        "amount",
        "ssn",
        "iban",
        "bytes",
        "port",
        "zip",
    ],
};

const MAX_DIGITS: usize = 15;

/// A number that starts at the window's first group, with its `+`, its opening bracket and its extension.
pub(crate) fn find(window: &Window<'_>) -> Option<Range<usize>> {
    let start = Start::of(window)?;
    let rules = [international, zero_zero, north_american, trunk_zero, bracketed, beside_a_word];
    rules.iter().filter_map(|rule| rule(window, &start)).find_map(|last| complete(window, &start, last))
}

/// Where the number begins and how.
struct Start {
    at: usize,
    plus: bool,
    bracket: bool,
}

impl Start {
    fn of(window: &Window<'_>) -> Option<Self> {
        // a piece of a date, an address or a longer code
        if matches!(window.before, Join::Dash | Join::Dot | Join::Slash) {
            return None;
        }
        let first = window.first().start;
        let (at, plus, bracket) = match (first.checked_sub(2).map(|p| window.text[p]), window.previous(first))
        {
            (Some(b'+'), Some(b'(')) => (first - 2, true, false),
            (Some(b'('), Some(b'+')) => (first - 1, true, false),
            (_, Some(b'+')) => (first - 1, true, false),
            (_, Some(b'(')) => (first - 1, false, window.first().after == Join::Close),
            _ => (first, false, false),
        };
        let at = if plus || bracket { at } else { first };
        let glued =
            window.glued_before(at) || (plus && matches!(window.previous(at), Some(b'.' | b')' | b'+')));
        (!glued).then_some(Self { at, plus, bracket })
    }
}

/// Adds an extension, and refuses a number that the text goes on from.
fn complete(window: &Window<'_>, start: &Start, last: usize) -> Option<Range<usize>> {
    let end = window.groups[last].end;
    let end = extension(&window.text[end..]).map_or(end, |len| end + len);
    (!window.glued_after(end)).then_some(start.at..end)
}

/// Length of `x123`, ` ext. 123`, ` extension 123` at the start of `tail`.
fn extension(tail: &[u8]) -> Option<usize> {
    let spaces = |text: &[u8]| text.iter().take(2).take_while(|b| **b == b' ').count();
    let lead = spaces(tail);
    let word = ["extension", "ext.", "ext", "x"].into_iter().find(|word| {
        tail[lead..].get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    })?;
    let digits_at = lead + word.len() + spaces(&tail[lead + word.len()..]);
    let digits = tail[digits_at..].iter().take_while(|b| b.is_ascii_digit()).count();
    (1..=6).contains(&digits).then_some(digits_at + digits)
}

/// `+` and a country code: the longest run of groups that the country's plan allows.
fn international(window: &Window<'_>, start: &Start) -> Option<usize> {
    if !start.plus {
        return None;
    }
    longest_plausible(window, 0)
}

/// `00` for `+`, when separators or a word show that it is no id.
fn zero_zero(window: &Window<'_>, start: &Start) -> Option<usize> {
    if start.plus || !window.digits(0).starts_with(b"00") {
        return None;
    }
    let last = longest_plausible(window, 2)?;
    let span = window.span(last);
    (last > 0 || WORDS.near(window.text, span.start, span.end)).then_some(last)
}

fn longest_plausible(window: &Window<'_>, skip: usize) -> Option<usize> {
    let mut digits = [0; MAX_DIGITS + 2];
    let mut len = 0;
    let mut longest = None;
    for (index, group) in window.groups.iter().enumerate() {
        // "(0)" is what a caller at home dials in its place
        let home_zero = index > 0 && window.digits(index) == b"0" && group.after == Join::Close;
        if !home_zero {
            let Some(room) = digits.get_mut(len..len + group.len()) else { break };
            room.copy_from_slice(window.digits(index));
            len += group.len();
        }
        if digits.get(skip..len).is_some_and(country_codes::is_plausible) {
            longest = Some(index);
        }
        if group.after == Join::None {
            break;
        }
    }
    longest
}

/// `(415) 555-0132`, `1-415-555-0132`, `415.555.0132`: three, three, four.
fn north_american(window: &Window<'_>, start: &Start) -> Option<usize> {
    let trunk = usize::from(window.digits(0) == b"1");
    let [area, exchange, ..] = window.groups.get(trunk..)? else { return None };
    let last = match (exchange.len(), window.groups.get(trunk + 2)) {
        (3, Some(line)) if line.len() == 4 && exchange.after != Join::Open => trunk + 2,
        (7, _) if area.after == Join::Close => trunk + 1,
        _ => return None,
    };
    if area.len() != 3 || area.after == Join::Open || !stands_alone(window, last) {
        return None;
    }
    let assigned = window.digits(trunk)[0] >= b'2' && window.digits(trunk + 1)[0] >= b'2';
    (assigned || area.after == Join::Close || WORDS.before(window.text, start.at) == Some(true))
        .then_some(last)
}

/// `020 7946 0958`, `01 23 45 67 89`, `(030) 123456`: a trunk zero, then nine to twelve digits in all.
fn trunk_zero(window: &Window<'_>, start: &Start) -> Option<usize> {
    let [b'0', b'1'..=b'9', ..] = window.digits(0) else { return None };
    let last = end_of_number(window)?;
    let total = digit_count(window, last);
    let shaped = last > 0
        && (9..=12).contains(&total)
        && window.groups[..=last].iter().all(|group| (2..=8).contains(&group.len()))
        && (start.bracket || window.first().len() <= 5);
    (shaped && stands_alone(window, last) && !is_dotted_quad(window, last)).then_some(last)
}

/// `(11) 91234-5678`: an area code in brackets.
fn bracketed(window: &Window<'_>, start: &Start) -> Option<usize> {
    let area = window.first().len();
    if !start.bracket || !(2..=5).contains(&area) || is_year(window.digits(0)) {
        return None;
    }
    let last = end_of_number(window)?;
    let shaped = last > 0
        && (8..=12).contains(&digit_count(window, last))
        && window.groups[1..=last].iter().all(|group| (3..=9).contains(&group.len()));
    (shaped && stands_alone(window, last)).then_some(last)
}

/// Seven to twelve digits beside a word that says what they are.
fn beside_a_word(window: &Window<'_>, start: &Start) -> Option<usize> {
    let last = end_of_number(window)?;
    let total = digit_count(window, last);
    let shaped = (7..=12).contains(&total)
        && stands_alone(window, last)
        && if last == 0 { !is_clock_or_id(window.digits(0)) } else { is_grouped_number(window, last) };
    let end = window.groups[last].end;
    (shaped && WORDS.near(window.text, start.at, end)).then_some(last)
}

/// The last group that still belongs: up to the end of the run, or to where a date or a bracket begins.
fn end_of_number(window: &Window<'_>) -> Option<usize> {
    if is_date(window) {
        return None;
    }
    let mut total = 0;
    let mut last = None;
    for (index, group) in window.groups.iter().enumerate() {
        total += group.len();
        if total > MAX_DIGITS {
            break;
        }
        last = Some(index);
        let ends = matches!(group.after, Join::None | Join::Open)
            || (group.after == Join::LooseDash && index > 0 && !is_loose(window, index));
        if ends || starts_year(window, index + 1) {
            break;
        }
    }
    last
}

/// Whether nothing of the same kind goes on before or after it. A space goes with anything but spaces, a dash between spaces with
/// anything but such dashes and with groups alone: `1000000 - 2000000` is a range.
fn stands_alone(window: &Window<'_>, last: usize) -> bool {
    let spaced = window.groups[..last].iter().all(|group| group.after == Join::Space) && last > 0;
    let loose = last == 0 || is_loose(window, last);
    let after = window.groups[last].after;
    let goes_on = |join: Join| match join {
        Join::Dash | Join::Dot => true,
        Join::Space => spaced,
        Join::LooseDash => loose,
        _ => false,
    };
    !goes_on(window.before) && (!goes_on(after) || (after == Join::Space && starts_year(window, last + 1)))
}

/// Whether some of the groups up to `last` are joined by dashes between spaces.
fn is_loose(window: &Window<'_>, last: usize) -> bool {
    window.groups[..last].iter().any(|group| group.after == Join::LooseDash)
}

/// A year, a month and a day follow as a group of their own: `… 2024-01-15`.
fn starts_year(window: &Window<'_>, index: usize) -> bool {
    let followed =
        |group: &Group| matches!(group.after, Join::Dash | Join::LooseDash | Join::Slash | Join::Dot);
    window.groups.get(index).is_some_and(followed) && is_year(window.digits(index))
}

fn is_year(digits: &[u8]) -> bool {
    matches!(digits, [b'1', b'9', _, _] | [b'2', b'0', _, _])
}

/// `15.01.2024`, `2024-01-15`, whatever follows.
fn is_date(window: &Window<'_>) -> bool {
    let [first, second, third, ..] = window.groups else { return false };
    let short = |group: &Group| group.len() <= 2;
    (short(first) && short(second) && third.len() == 4 && is_year(window.digits(2)))
        || (is_year(window.digits(0)) && short(second) && short(third))
}

fn is_dotted_quad(window: &Window<'_>, last: usize) -> bool {
    last == 3 && window.groups[..3].iter().all(|group| group.after == Join::Dot && group.len() <= 3)
}

fn is_grouped_number(window: &Window<'_>, last: usize) -> bool {
    let decimal = last == 1 && window.first().after == Join::Dot;
    let social_security = last == 2 && window.has_lens(&[3, 2, 4]);
    let sized = window.groups[1..=last].iter().all(|group| group.len() >= 2);
    sized && !decimal && !social_security && !is_dotted_quad(window, last)
}

/// Seconds since 1970 (ten digits from 1), `20240115`, a row of zeros; more digits than a national number has, unless
/// they begin with a country code.
fn is_clock_or_id(digits: &[u8]) -> bool {
    let epoch = digits.len() == 10 && digits[0] == b'1';
    let date = digits.len() == 8 && is_year(&digits[..4]) && digits[4] <= b'1' && digits[6] <= b'3';
    let long = digits.len() == 12 && !country_codes::is_plausible(digits);
    epoch || date || long || digits.starts_with(b"000")
}

fn digit_count(window: &Window<'_>, last: usize) -> usize {
    window.groups[..=last].iter().map(Group::len).sum()
}

#[cfg(test)]
mod tests;
