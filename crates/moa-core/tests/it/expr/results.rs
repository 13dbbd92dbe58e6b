//! What expressions of every kind result in, from CEL's specification.

use super::eval;

/// Each line is `expression => expression of the expected value`.
fn check(table: &str) {
    let mut wrong = Vec::new();
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")) {
        let (source, expected) = line.rsplit_once("=>").expect("a line has =>");
        let (source, expected) = (source.trim(), expected.trim());
        let want = eval(expected).unwrap_or_else(|e| panic!("{expected}: {e:?}"));
        match eval(source) {
            Ok(got) if got == want && got.type_name() == want.type_name() => {}
            other => wrong.push(format!("{source}\n   gives {other:?}\n   not   {want:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn literals() {
    check(
        r##"
        1 => 1
        0x1F => 31
        -0x1f => -31
        9223372036854775807 => big
        -9223372036854775808 => -big - 1
        7u => 7u
        0xFFu => 255u
        1.5 => 1.5
        .5 => 0.5
        1e3 => 1000.0
        1.5E-1 => 0.15
        true => true
        null => nothing
        "a" + 'b' => "ab"
        """x"y""z""" => 'x"y""z'
        "\n\t\\\"\'\x41\u00e9\U0001F600\101" => "\x0a\x09\x5c\x22\x27A\u00e9😀A"
        r"\n" => "\\n"
        b"\xff\101" => b"\377A"
        b"é" => b"\xc3\xa9"
        br"\x" => b"\\x"
        [1, 2,] => [1, 2]
        {"a": 1, 2: true, false: null}[2] => true
        // A comment.
        "##,
    );
}
