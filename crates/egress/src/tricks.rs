//! Ways to write a URL so that a check and a connection read different things.

/// With `{}` for a port. Whoever resolves or connects to one of these has been tricked.
pub const TRICKS: [&str; 78] = [
    // this machine, by all its names
    "https://localhost/",
    "https://localhost:{}/",
    "http://localhost:{}/",
    "https://localhost.localdomain/",
    "https://ip6-localhost/",
    "https://LOCALHOST/",
    "https://127.0.0.1/",
    "https://127.0.0.1:{}/",
    "http://127.0.0.1:{}/",
    "https://127.1/",
    "http://127.1:{}/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://0/",
    "http://0:{}/",
    "https://0.0.0.0/",
    "http://0.0.0.0:{}/",
    // decimal, octal, hexadecimal, mixed, overflowing
    "https://2130706433/",
    "http://2130706433:{}/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://0x7f000001/",
    "http://0x7f000001:{}/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://0x7f.1/",
    "https://0X7F.1/",
    "https://127.0.0.0x1/",
    "https://00000177.0.0.01/",
    "https://4294967297/",
    "https://425.510.425.510/",
    // IPv6 and IPv4 in it
    "https://[::1]/",
    "https://[::]/",
    "http://[::]:{}/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/",
    "https://[fd00:ec2::254]/",
    // metadata servers
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://[::ffff:169.254.169.254]/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    // trailing dots, and dots of other scripts
    "https://localhost./",
    "https://127.0.0.1./",
    "https://api.example.com./",
    "https://127。0。0。1/",
    "https://127.0.0.1/",
    "https://①②⑦.0.0.1/",
    "https://ｌocalhost/",
    "https://api.example.com。/",
    // who is the host?
    "https://api.example.com@127.0.0.1/",
    "https://api.example.com:443@127.0.0.1:{}/",
    "https://user:password@api.example.com/",
    "https://127.0.0.1:{}#@api.example.com/",
    "https://127.0.0.1:{}\\@api.example.com/",
    "https://127.0.0.1:{}?@api.example.com/",
    "https:\\\\127.0.0.1:{}\\api.example.com",
    "https://api.example.com%00.evil.example/",
    "https://127.0.0.1%2f.api.example.com/",
    "https://api.example.com.evil.example/",
    "https://evilapi.example.com/",
    "https://api.example.com\t.evil.example/",
    "https://api.example.com\r\nhost: evil.example/",
    "https://api.example.com /",
    // other ports and schemes
    "https://api.example.com:22/",
    "https://api.example.com:{}/",
    "https://api.example.com:/",
    "http://api.example.com/",
    "ftp://api.example.com/",
    "file:///etc/passwd",
    "//api.example.com/",
];

#[cfg(test)]
#[test]
fn no_trick_is_taken_for_the_permitted_host() {
    let rules = crate::Rules::parse(["api.example.com"]).unwrap();
    assert!(rules.judge_text("https://api.example.com/v1").is_ok());
    for trick in TRICKS {
        let trick = trick.replace("{}", "9999");
        assert!(rules.judge_text(&trick).is_err(), "{trick}");
        // a connection knows the parsed form alone
        if let Ok(uri) = trick.parse::<http::Uri>()
            && let Ok(reach) = rules.judge(&uri)
        {
            panic!("{trick} is within {reach:?} for a connection");
        }
    }
}
