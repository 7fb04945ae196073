//! E-mail addresses, `@` outwards.

use std::ops::Range;

use memchr::memchr_iter;
use unicode_normalization::char::is_combining_mark;

/// Hosts whose `git@` is a login, not a mailbox, even without a path after it.
const FORGES: [&str; 5] = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "ssh.dev.azure.com"];
/// Logins of version control over ssh.
const REMOTE_USERS: [&str; 3] = ["git", "hg", "svn"];

/// Calls `visit` with the span of every address.
///
/// Linear: each `@` looks left and right no further than the next `@`.
pub(crate) fn for_each(text: &str, mut visit: impl FnMut(Range<usize>)) {
    for at in memchr_iter(b'@', text.as_bytes()) {
        if let Some(span) = address_around(text, at) {
            visit(span);
        }
    }
}

fn address_around(text: &str, at: usize) -> Option<Range<usize>> {
    let start = start_of_local_part(&text[..at])?;
    let domain = domain_at(&text[at + 1..])?;
    let end = at + 1 + domain.len();
    (!is_remote(text, start..end, at)).then_some(start..end)
}

fn start_of_local_part(head: &str) -> Option<usize> {
    let start = head.char_indices().rev().take_while(|&(_, c)| is_local(c)).last().map(|(start, _)| start)?;
    // quotes and bullets before an address are not part of it
    let local = head[start..].trim_start_matches(['.', '-', '\'', '%', '~']);
    (!local.is_empty() && !local.ends_with('.')).then(|| head.len() - local.len())
}

/// The longest domain at the start of `tail`: labels joined by dots, the last one beginning with two letters.
///
/// What follows a top-level domain without a break (`a@b.com123`) is taken along: cutting a word in half would leave the
/// rest of what may be the address.
fn domain_at(tail: &str) -> Option<&str> {
    let end = tail.char_indices().find(|&(_, c)| !is_domain(c)).map_or(tail.len(), |(end, _)| end);
    let mut domain = &tail[..end];
    if domain.starts_with(['.', '-']) {
        return None;
    }
    if let Some(empty_label) = domain.find("..") {
        domain = &domain[..empty_label];
    }
    loop {
        let (rest, last) = domain.rsplit_once('.')?;
        let label = last.trim_end_matches('-');
        if is_top_level(label) && !rest.is_empty() {
            return Some(&domain[..domain.len() - (last.len() - label.len())]);
        }
        domain = rest;
    }
}

fn is_top_level(label: &str) -> bool {
    let mut chars = label.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_some_and(char::is_alphabetic)
}

/// `git@host:path`, `svn+ssh://svn@host/path`: a login on a machine.
fn is_remote(text: &str, span: Range<usize>, at: usize) -> bool {
    let (local, domain, tail) = (&text[span.start..at], &text[at + 1..span.end], &text[span.end..]);
    if let Some(path) = tail.strip_prefix(':') {
        let path = &path[..path.floor_char_boundary(MAX_PATH)];
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ')' | '>' | ',' | ';');
        let path = path[..path.find(ends).unwrap_or(path.len())].trim_end_matches('.');
        if path.ends_with(".git") {
            return true;
        }
    }
    let any = |names: &[&str], name: &str| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    any(&REMOTE_USERS, local)
        && (tail.starts_with([':', '/']) || text[..span.start].ends_with("//") || any(&FORGES, domain))
}

/// A path is looked at no further than this, so that many addresses before one long word stay linear.
const MAX_PATH: usize = 256;

fn is_local(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-' | '\'' | '~') || is_foreign_letter(c)
}

fn is_domain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-') || is_foreign_letter(c)
}

/// Letters of scripts that put spaces between words (RFC 6531 addresses), and the accents that stand behind them. The others, from U+2E80 on, would take the
/// whole sentence along.
fn is_foreign_letter(c: char) -> bool {
    !c.is_ascii() && c < '\u{2E80}' && (c.is_alphabetic() || is_combining_mark(c))
}

#[cfg(test)]
mod tests {
    use crate::Entity::Email;
    use crate::detect::testing::{found, none};

    #[test]
    fn addresses_are_found() {
        for (text, value) in [
            ("bob@example.com", "bob@example.com"),
            ("Mail <first.last+tag@sub.example.co.uk>.", "first.last+tag@sub.example.co.uk"),
            ("o'brien@example.ie", "o'brien@example.ie"),
            ("'bob@example.com'", "bob@example.com"),
            ("mailto:bob@example.com?subject=x", "bob@example.com"),
            ("to=bob@example.com&cc=", "bob@example.com"),
            ("bob_99%x@ex-ample.io, and", "bob_99%x@ex-ample.io"),
            ("write to bob@example.com.", "bob@example.com"),
            ("bob@example.com:secret", "bob@example.com"),
            ("bob@example.com123", "bob@example.com123"),
            ("bob@example.com-", "bob@example.com"),
            ("bob@example.com...", "bob@example.com"),
            ("bob@example.com.123", "bob@example.com"),
            ("请联系bob@example.com谢谢", "bob@example.com"),
            ("josé@exämple.de", "josé@exämple.de"),
            ("jose\u{301}@example.com", "jose\u{301}@example.com"),
            ("jose\u{301}.garcia@example.com", "jose\u{301}.garcia@example.com"),
            ("info@mu\u{308}ller.de", "info@mu\u{308}ller.de"),
            ("write to—bob@example.com—please", "bob@example.com"),
            ("почта@пример.рф", "почта@пример.рф"),
            ("bob＠example．com", "bob＠example．com"),
            ("bob\u{200B}@exam\u{AD}ple.com", "bob\u{200B}@exam\u{AD}ple.com"),
            ("bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
            ("git@vger.kernel.example", "git@vger.kernel.example"),
            ("@bob@social.example", "bob@social.example"),
            ("4155550132@example.com", "4155550132@example.com"),
        ] {
            found(&Email, text, value);
        }
    }

    #[test]
    fn logins_handles_and_fragments_are_not() {
        for text in [
            "git@github.com:o/r.git",
            "git@github.com",
            "ssh://git@host.example/o/r.git",
            "git@git.example.org:o/r",
            "deploy@host.example:srv/repo.git",
            "(deploy@host.example:srv/repo.git)",
            "hg@hg.example.org/repo",
            "@handle",
            "a @ b.com",
            "user@localhost",
            "x@1.2.3",
            "@app.route",
            "bob@.com",
            "bob@-x.com",
            "bob@x",
            "bob.@x.com",
            "@",
            "@@@",
            "a@b@c",
            "react@18.2.0",
        ] {
            none(&Email, text);
        }
    }
}
