use proptest::prelude::*;

use super::passes_luhn;
use crate::Entity::CreditCard;
use crate::detect::testing::{found, none};

/// `prefix` filled with sevens to `len` digits, the last one the check digit.
fn card(prefix: &str, len: usize) -> String {
    let body = format!("{prefix:7<width$}", width = len - 1);
    let number = (0..10).map(|check| format!("{body}{check}")).find(|number| passes_luhn(number.as_bytes()));
    number.expect("one of ten digits checks")
}

#[test]
fn published_test_numbers_are_found() {
    for number in [
        "4111111111111111",
        "4012888888881881",
        "5555555555554444",
        "5105105105105100",
        "2223003122003222",
        "2720990000000007",
        "378282246310005",
        "371449635398431",
        "30569309025904",
        "38520000023237",
        "36227206271667",
        "6011111111111117",
        "6011000990139424",
        "3530111333300000",
        "3566002020360505",
        "6200000000000005",
    ] {
        found(&CreditCard, &format!("pay {number} now"), number);
    }
}

#[test]
fn rare_lengths_are_found_beside_a_word_or_in_printed_groups() {
    for (prefix, len) in
        [("5018", 12), ("6759", 13), ("4", 13), ("4", 19), ("6011", 19), ("62", 17), ("6304", 18)]
    {
        let number = card(prefix, len);
        found(&CreditCard, &format!("my card number is {number}"), &number);
        found(&CreditCard, &format!("{number} is my Visa card"), &number);
        none(&CreditCard, &format!("row {number}"));
        none(&CreditCard, &format!("card order {number}"));
    }
    let nineteen = card("4", 19);
    let groups: Vec<_> =
        nineteen.as_bytes().chunks(4).map(|four| std::str::from_utf8(four).unwrap()).collect();
    found(&CreditCard, &groups.join(" "), &groups.join(" "));
}

#[test]
fn separators_and_neighbours_do_not_hide_a_card() {
    for (text, value) in [
        ("4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("4111-1111-1111-1111", "4111-1111-1111-1111"),
        ("4111.1111.1111.1111", "4111.1111.1111.1111"),
        ("3782 822463 10005", "3782 822463 10005"),
        ("3056 930902 5904", "3056 930902 5904"),
        ("4111 1111 1111 1111 12/26 123", "4111 1111 1111 1111"),
        ("qty 2 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("card:4111111111111111,exp", "4111111111111111"),
        ("ends here 4111111111111111.", "4111111111111111"),
        ("４１１１ １１１１ １１１１ １１１１", "４１１１ １１１１ １１１１ １１１１"),
        ("4111\u{A0}1111\u{A0}1111\u{A0}1111", "4111\u{A0}1111\u{A0}1111\u{A0}1111"),
        ("4111\u{2013}1111\u{2013}1111\u{2013}1111", "4111\u{2013}1111\u{2013}1111\u{2013}1111"),
        ("4111\u{200B}1111\u{200B}11111111", "4111\u{200B}1111\u{200B}11111111"),
    ] {
        found(&CreditCard, text, value);
    }
}

#[test]
fn a_dash_between_spaces_ends_a_number() {
    for (text, value) in [
        ("card 4111111111111111 - 12/27", "4111111111111111"),
        ("4111 1111 1111 1111 – 12/27", "4111 1111 1111 1111"),
        ("4111-1111-1111-1111 - 12/27", "4111-1111-1111-1111"),
        ("1 - 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("4111 - 1111 - 1111 - 1111", "4111 - 1111 - 1111 - 1111"),
        ("the card—4111 1111 1111 1111—expired", "4111 1111 1111 1111"),
    ] {
        found(&CreditCard, text, value);
    }
}

#[test]
fn numbers_that_are_no_card_are_not() {
    for text in [
        "4111111111111112", // check digit
        "1234567812345670", // passes Luhn, no issuer
        "9780306406157",
        "978-0-306-40615-7", // ISBN-13
        "1700000000000",
        "1735689600123", // epoch, ms
        "1Z4111111111111111",
        "x4111111111111111",
        "4111111111111111x",
        "id_4111111111111111",
        "SKU-4111111111111111",
        "4111111111111111-7",
        "4111-1111-1111-1111-11",
        "0.4111111111111111",
        "4111111111111111.25",
        "41111111111111111111", // twenty digits
        "4111 1111-1111 1111",  // mixed separators
        "7-4111-1111-1111-1111",
        "00004111111111111111",
        "cd4111111111111111ab",
        "9400100000000000000000",
    ] {
        none(&CreditCard, text);
    }
}

proptest! {
    #[test]
    fn one_wrong_digit_or_swapped_neighbours_fail_the_check(
        body in "[0-9]{15}", at in 0_usize..15, other in 1_u8..10,
    ) {
        let mut number = card(&body, 16).into_bytes();
        number[at] = b'0' + (number[at] - b'0' + other) % 10;
        prop_assert!(!passes_luhn(&number));
    }
}
