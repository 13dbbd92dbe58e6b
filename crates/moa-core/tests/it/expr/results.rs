//! What expressions of every kind result in, from CEL's specification.

use super::eval;

/// Each line is `expression => expression of the expected value`, equal in value and in type.
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

/// Each line is an expression that is true.
fn all_true(table: &str) {
    let wrong: Vec<String> = table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter_map(|line| match eval(line) {
            Ok(value) if value.as_bool() == Some(true) => None,
            other => Some(format!("{line}\n   gives {other:?}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_can_fail() {
    for wrong in ["1 + 1 => 3", "1 => 1u", "1 => 1.0", "\"a\" => 'b'", "n.x => 1"] {
        assert!(std::panic::catch_unwind(|| check(wrong)).is_err(), "{wrong}");
    }
    assert!(std::panic::catch_unwind(|| all_true("false")).is_err());
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
        18446744073709551615u => 18446744073709551615U
        1.5 => 1.5
        .5 => 0.5
        1e3 => 1000.0
        1.5E-1 => 0.15
        2e+2 => 200.0
        true => yes
        false => no
        null => nothing
        "a" + 'b' => "ab"
        """x"y""z""" => 'x"y""z'
        '''it's''' => "it's"
        "\n\t\\\"\'\x41\u00e9\U0001F600\101" => "\x0a\x09\x5c\x22\x27A\u00e9😀A"
        "\a\b\f\r\v\?\`" => "\x07\x08\x0C\x0D\x0B?`"
        r"\n" => "\\n"
        R'''\n''' => "\\n"
        b"\xff\101" => b"\377A"
        b"é" => b"\xc3\xa9"
        br"\x" => b"\\x"
        B'''a''' => b"a"
        "" => ''
        [] => empty
        [1, 2, 3] => list
        [1, 2, 3,] => list
        {"a": 1, 2: true, false: null}[2] => true
        {"a": 1,}.a => 1
        {} => m.b.filter(k, false) == [] ? {} : null
        "// no comment" => "//" + " no comment"
        "##,
    );
}

#[test]
fn strings_span_lines_in_triple_quotes_and_sources_span_lines() {
    assert_eq!(eval("'''a\nb'''").unwrap(), "a\nb".into());
    assert_eq!(eval("1 + // one\n\t2\r\n").unwrap(), 3.into());
}

#[test]
fn arithmetic() {
    check(
        "
        1 + 2 * 3 => 7
        (1 + 2) * 3 => 9
        10 - 4 - 3 => 3
        7 / 2 => 3
        -7 / 2 => -3
        7 % 3 => 1
        -7 % 3 => -1
        7 % -3 => 1
        2 * 3 % 4 => 2
        7.0 / 2.0 => 3.5
        1.0 / 0.0 => double('inf')
        -1.0 / 0.0 => -double('inf')
        5u - 3u => 2u
        7u % 4u => 3u
        --3 => 3
        -(-3) => 3
        -n => -3
        - 3 => -3
        -x => -1.5
        1 - -1 => 2
        1-1 => 0
        n + 1 => 4
        n % 2 => 1
        list[0] + 1 => 2
        double(n) * x => 4.5
        big - 1 + 1 => big
        'a' + 'b' + 'c' => 'abc'
        b'a' + b'b' => b'ab'
        [1] + [2, 3] => list
        list + [] + words => [1, 2, 3, 'b', 'a', 'c']
        s + '!' => 'héllo!'
        ",
    );
}

#[test]
fn comparisons() {
    all_true(
        "
        1 == 1
        1 != 2
        1 == 1.0
        1u == 1
        1u == 1.0
        1 < 1.5
        2u > 1.5
        -1 < 0u
        0u > -1
        big < 18446744073709551615u
        3 >= 3u && 3u >= 3 && 3 <= 3.0
        'a' < 'b'
        'a' < 'aa'
        'Z' < 'a'
        false < true
        b'a' < b'b'
        !(1 == '1')
        1 != '1'
        null == null
        null != 0
        nothing == null
        [1, 2] == [1.0, 2u]
        [1, 2] != [2, 1]
        [1] != [1, 2]
        list == [1, 2, 3]
        {'a': 1, 'b': 2} == {'b': 2.0, 'a': 1u}
        {'a': 1} != {'a': 2}
        {'a': 1} != {'b': 1}
        {1: 'x'} == {1u: 'x'}
        m == m
        m.b == {'c': [10, {'d': 'deep'}]}
        rows[0] == {'id': 1, 'ok': true, 'cost': 0.5, 'name': 'one'}
        double('NaN') != double('NaN')
        !(double('NaN') < 1.0) && !(double('NaN') >= 1.0)
        x == 1.5
        type(1) != type(1.0)
        (1 < 2) == true
        1 < 2 == true
        ",
    );
}

#[test]
fn logic() {
    check(
        "
        true && true => true
        true && false => false
        false || true => true
        false || false => false
        !true => false
        !!true => true
        !(1 > 2) => true
        true || missing => true
        missing || true => true
        false && missing => false
        missing && false => false
        missing.a.b || m.zzz == 1 || yes => true
        1 / 0 == 0 || true => true
        n.field && false => false
        1 || true => true
        'x' && false => false
        true || false && false => true
        (true || false) && false => false
        no || no || no || yes => true
        missing || missing || true || missing => true
        yes ? 1 : 2 => 1
        no ? 1 : 2 => 2
        no ? 1 : no ? 2 : 3 => 3
        yes ? no ? 1 : 2 : 3 => 2
        true ? 1 : missing => 1
        false ? 1 / 0 : 2 => 2
        (no ? yes : no) ? 1 : 2 => 2
        yes ? 1 : 2 + 10 => 1
        n > 2 ? 'many' : 'few' => 'many'
        ",
    );
}

#[test]
fn selection_and_indexing() {
    check(
        r#"
        m.a => 1
        m["a"] => 1
        m.b.c[1].d => "deep"
        m["b"]["c"][0] => 10
        m["k-l"] => "hyphen"
        m.`k-l` => "hyphen"
        m.null => null
        list[0] => 1
        list[2] => 3
        list[1u] => 2
        list[1.0] => 2
        [[1, 2], [3]][0][1] => 2
        {1: "a"}[1] => "a"
        {1: "a"}[1u] => "a"
        {1: "a"}[1.0] => "a"
        {true: "t"}[true] => "t"
        rows[1].name => "two"
        rows[n - 1].id => 3
        .n => 3
        .m.a => 1
        [5].map(n, n + .n) => [8]
        quality_check.success && security_scan.passed => true
        quality_check.output.score > 0.9 => true
        {"if": 1}.if => 1
        {"in": 2}.in => 2
        {"true": 3}.true => 3
        m . a => 1
        "#,
    );
}

#[test]
fn membership() {
    all_true(
        r#"
        1 in list
        !(4 in list)
        1.0 in list
        1u in list
        "a" in words
        "a" in m
        !("zzz" in m)
        "null" in m
        !(1 in m)
        [1] in [[1], [2]]
        {"a": 1} in [{"a": 1}]
        null in [null]
        !(1 in [])
        2 in {2: "x"}
        "name" in rows[0]
        n in list && true
        !(n in empty)
        "#,
    );
}

#[test]
fn has() {
    check(
        r#"
        has(m.a) => true
        has(m.zzz) => false
        has(m.b.c) => true
        has(m.b.zzz) => false
        has(m.null) => true
        has({"x": 1}.x) => true
        has({}.x) => false
        has(rows[0].id) => true
        has(m.`k-l`) => true
        has(m.zzz) && m.zzz.y == 1 => false
        has(m.zzz) ? m.zzz : "none" => "none"
        has(quality_check.output.score) => true
        rows.exists(r, has(r.error)) => false
        "#,
    );
}

#[test]
fn loops() {
    check(
        r#"
        list.all(x, x > 0) => true
        list.all(x, x > 1) => false
        empty.all(x, false) => true
        list.exists(x, x == 2) => true
        list.exists(x, x == 9) => false
        empty.exists(x, true) => false
        list.exists_one(x, x > 2) => true
        list.exists_one(x, x > 1) => false
        list.existsOne(x, x == 1) => true
        list.map(x, x * 2) => [2, 4, 6]
        list.map(x, x > 1, x * 2) => [4, 6]
        empty.map(x, x.y.z) => []
        list.filter(x, x % 2 == 1) => [1, 3]
        rows.filter(r, r.ok).map(r, r.name) => ["one", "three"]
        rows.map(r, r.ok, r.cost) => [0.5, 1.0]
        m.map(k, k) => ["a", "b", "k-l", "null"]
        m.filter(k, k.size() == 1) => ["a", "b"]
        m.exists(k, m[k] == "hyphen") => true
        {"x": 1, "y": 2}.all(k, k < "z") => true
        {1: 2}.map(k, k + 1) => [2]
        [[1, 2], [3]].map(l, l.map(x, x + 1)) => [[2, 3], [4]]
        [[1, 2], [3]].all(l, l.exists(x, x > 1)) => true
        [1, 2].map(x, [3].map(x, x)) => [[3], [3]]
        [1, 2].map(x, [10].map(y, x + y)) => [[11], [12]]
        n in [1, 2].map(n, n + 2) => true
        [1, 0, 2].exists(x, 2 / x == 1) => true
        [1, 0, 5].all(x, 5 / x == 1) => false
        ["a", 1].exists(x, x == 1) => true
        [1, 2, 3].filter(x, [2, 3].exists(y, y == x)) => [2, 3]
        words.map(w, w + w).join() => "bbaacc"
        list.map(x, list.map(y, x * y)).map(l, l[2]) => [3, 6, 9]
        "#,
    );
}

#[test]
fn loops_with_two_variables_and_bindings() {
    check(
        r#"
        list.all(i, x, x == i + 1) => true
        list.exists(i, x, i == 2 && x == 3) => true
        list.exists_one(i, x, i == x) => false
        words.transformList(i, w, string(i) + w) => ["0b", "1a", "2c"]
        words.transformList(i, w, i > 0, w) => ["a", "c"]
        {"a": 1, "b": 2}.transformMap(k, v, v * 10) => {"a": 10, "b": 20}
        {"a": 1, "b": 2}.transformMap(k, v, v > 1, v) => {"b": 2}
        rows.transformMapEntry(i, r, {r.name: r.cost}) => {"one": 0.5, "two": 2.0, "three": 1.0}
        rows.transformMapEntry(i, r, r.ok, {r.name: i}) => {"one": 0, "three": 2}
        [1, 2].exists(i, v, [3].exists(j, w, i + j == 1 && v + w == 5)) => true
        cel.bind(d, n * 2, d * d) => 36
        cel.bind(a, 1, cel.bind(b, a + 1, a + b)) => 3
        [1, 2].map(x, cel.bind(y, x * x, y + y)) => [2, 8]
        cel.bind(x, missing, true) || true => true
        "#,
    );
}

#[test]
fn optionals() {
    check(
        r#"
        m.?a.orValue(9) => 1
        m.?zzz.orValue(9) => 9
        m.?zzz.y.z.orValue(9) => 9
        m.?b.?c.orValue([]) => m.b.c
        m.?zzz.?c.hasValue() => false
        m[?"a"].hasValue() => true
        list[?9].orValue(0) => 0
        list[?0].value() => 1
        optional.of(1).or(optional.of(2)).value() => 1
        optional.none().or(optional.of(2)).value() => 2
        optional.ofNonZeroValue(0).hasValue() => false
        optional.ofNonZeroValue("").hasValue() => false
        optional.ofNonZeroValue([0]).hasValue() => true
        m.?a.optMap(v, v + 1).orValue(0) => 2
        m.?zzz.optMap(v, v + 1).orValue(0) => 0
        m.?b.optFlatMap(b, b.?c).value()[0] => 10
        [?m.?a, ?m.?zzz, 7] => [1, 7]
        {?"a": m.?a, ?"z": m.?zzz} => {"a": 1}
        m.?a => m.a
        m.?zzz => null
        list.first().value() => 1
        list.last().value() => 3
        empty.first().hasValue() => false
        "#,
    );
}

#[test]
fn sizes_and_types() {
    check(
        r#"
        size(list) => 3
        list.size() => 3
        size(s) => 5
        s.size() => 5
        size("😀é") => 2
        size(b"\xc3\xa9") => 2
        size(m) => 4
        size({}) => 0
        size("") => 0
        type(1) => int
        type(1u) => uint
        type(1.0) => double
        type("") => string
        type(b"") => bytes
        type(true) => bool
        type(null) => null_type
        type([]) => type(list)
        type({}) => map
        type(m) == map && type(list) == type([]) => true
        type(int) => type
        type(type(1)) => type
        type(timestamp("2020-01-01T00:00:00Z")) => timestamp
        type(duration("1s")) => duration
        dyn(1) + 1 => 2
        [1, "a"].map(x, type(x) == int) => [true, false]
        "#,
    );
}

#[test]
fn conversions() {
    check(
        r#"
        int("42") => 42
        int("-7") => -7
        int(3.99) => 3
        int(-3.99) => -3
        int(3u) => 3
        int(timestamp("1970-01-01T00:01:00Z")) => 60
        uint("42") => 42u
        uint(42) => 42u
        uint(3.7) => 3u
        double("3.5") => 3.5
        double("1e3") => 1000.0
        double(3) => 3.0
        double(3u) => 3.0
        string(1) => "1"
        string(-1) => "-1"
        string(1u) => "1"
        string(1.0) => "1"
        string(0.1) => "0.1"
        string(1234567.5) => "1234567.5"
        string(6.02214e23) => "6.02214e+23"
        string(true) => "true"
        string("x") => "x"
        string(b"abc") => "abc"
        string(duration("1h30m")) => "5400s"
        string(duration("1500ms")) => "1.5s"
        string(timestamp("2020-01-01T00:00:00.5Z")) => "2020-01-01T00:00:00.5Z"
        bool("true") => true
        bool("FALSE") => false
        bool("1") => true
        bool(true) => true
        bytes("é") => b"\xc3\xa9"
        timestamp(60) => timestamp("1970-01-01T00:01:00Z")
        timestamp("2020-01-01T02:00:00+02:00") => timestamp("2020-01-01T00:00:00Z")
        duration("90m") => duration("1h30m")
        duration("1.5h") => duration("90m")
        duration("-1s") => -duration("1s")
        duration("1d") => duration("24h")
        duration("0") => duration("0s")
        base64.encode(b"hello") => "aGVsbG8="
        base64.decode("aGVsbG8") => b"hello"
        "#,
    );
}

#[test]
fn time() {
    check(
        r#"
        timestamp("2020-01-01T00:00:00Z") + duration("1h") => timestamp("2020-01-01T01:00:00Z")
        duration("1h") + timestamp("2020-01-01T00:00:00Z") => timestamp("2020-01-01T01:00:00Z")
        timestamp("2020-01-01T01:00:00Z") - duration("1h") => timestamp("2020-01-01T00:00:00Z")
        timestamp("2020-01-02T00:00:00Z") - timestamp("2020-01-01T00:00:00Z") => duration("24h")
        duration("1h") + duration("30m") => duration("90m")
        duration("1h") - duration("90m") => duration("-30m")
        timestamp("2020-01-01T00:00:00Z") < timestamp("2020-01-01T00:00:01Z") => true
        duration("1m") > duration("59s") => true
        duration("60s") == duration("1m") => true
        timestamp("2009-02-13T23:31:30Z").getFullYear() => 2009
        timestamp("2009-02-13T23:31:30Z").getMonth() => 1
        timestamp("2009-02-13T23:31:30Z").getDate() => 13
        timestamp("2009-02-13T23:31:30Z").getDayOfMonth() => 12
        timestamp("2009-02-13T23:31:30Z").getDayOfWeek() => 5
        timestamp("2009-02-13T23:31:30Z").getDayOfYear() => 43
        timestamp("2009-02-13T23:31:30Z").getHours() => 23
        timestamp("2009-02-13T23:31:30Z").getMinutes() => 31
        timestamp("2009-02-13T23:31:30Z").getSeconds() => 30
        timestamp("2009-02-13T23:31:30.123Z").getMilliseconds() => 123
        timestamp("2009-02-13T23:31:30Z").getHours("+01:00") => 0
        timestamp("2009-02-13T23:31:30Z").getDate("+01:00") => 14
        timestamp("2009-02-13T23:31:30Z").getMinutes("-02:30") => 1
        timestamp("2009-02-13T23:31:30Z").getHours("UTC") => 23
        duration("3730s").getHours() => 1
        duration("3730s").getMinutes() => 62
        duration("3730s").getSeconds() => 3730
        duration("1.234s").getMilliseconds() => 234
        "#,
    );
}

#[test]
fn strings() {
    check(
        r#"
        s.contains("ll") => true
        s.contains("") => true
        s.contains("x") => false
        s.startsWith("hé") => true
        s.endsWith("lo") => true
        "abc".matches("^a.c$") => true
        "abc".matches("b") => true
        "abc".matches("^b") => false
        matches("abc", "a|x") => true
        "2026-01-31".matches(r"^\d{4}-\d{2}-\d{2}$") => true
        "ABC".lowerAscii() => "abc"
        "abcÉ".upperAscii() => "ABCÉ"
        "  a b\t\n".trim() => "a b"
        "a,b,c".split(",") => ["a", "b", "c"]
        "a,b,c".split(",", 2) => ["a", "b,c"]
        "a,b".split(",", 0) => []
        "a,b".split(",", -1) => ["a", "b"]
        "abc".split("") => ["a", "b", "c"]
        "".split(",") => [""]
        words.join("-") => "b-a-c"
        words.join() => "bac"
        [].join(",") => ""
        "a-b-c".replace("-", "+") => "a+b+c"
        "a-b-c".replace("-", "+", 1) => "a+b-c"
        "aaa".replace("a", "") => ""
        s.substring(1) => "éllo"
        s.substring(1, 3) => "él"
        s.substring(5) => ""
        s.indexOf("l") => 2
        s.indexOf("l", 3) => 3
        s.indexOf("z") => -1
        s.lastIndexOf("l") => 3
        s.lastIndexOf("l", 2) => 2
        s.charAt(1) => "é"
        s.charAt(5) => ""
        s.reverse() => "olléh"
        strings.quote("a\"b\n") => "\"a\\\"b\\n\""
        "%s is %d, %.2f".format(["x", 3, 1.5]) => "x is 3, 1.50"
        "%s".format([rows[0]]) => "{cost: 0.5, id: 1, name: one, ok: true}"
        "%5%".size() == 3 && "100%%".format([]) == "100%" => true
        "%x %X %o %b".format([255, 255, 8, 5]) => "ff FF 10 101"
        "%e".format([12345.678]) => "1.234568e+04"
        "#,
    );
}

#[test]
fn lists() {
    check(
        r#"
        [3, 1, 2].sort() => [1, 2, 3]
        words.sort() => ["a", "b", "c"]
        [2.5, 1, 3u].sort() => [1, 2.5, 3u]
        [].sort() => []
        rows.sortBy(r, r.cost).map(r, r.id) => [1, 3, 2]
        rows.sortBy(r, r.name).map(r, r.name) => ["one", "three", "two"]
        [1, 2, 1, 1.0, "1"].distinct() => [1, 2, "1"]
        [[1], [2, [3]]].flatten() => [1, 2, [3]]
        [[1], [2, [3]]].flatten(2) => [1, 2, 3]
        [1, [2]].flatten(0) => [1, [2]]
        list.sum() => 6
        rows.map(r, r.cost).sum() => 3.5
        empty.sum() => 0
        [duration("1h"), duration("30m")].sum() => duration("90m")
        list.slice(1, 3) => [2, 3]
        list.slice(0, 0) => []
        list.reverse() => [3, 2, 1]
        lists.range(4) => [0, 1, 2, 3]
        lists.range(0) => []
        lists.range(3).map(i, list[i]) => list
        sets.contains([1, 2, 3], [2.0]) => true
        sets.contains([1], [2]) => false
        sets.intersects([1, 2], [2, 3]) => true
        sets.equivalent([1, 2, 2], [2, 1]) => true
        "#,
    );
}

#[test]
fn maths() {
    check(
        r#"
        math.greatest(1, 2, 3) => 3
        math.greatest(list) => 3
        math.least(1, 0.5) => 0.5
        math.least(rows.map(r, r.cost)) => 0.5
        math.greatest(5) => 5
        math.abs(-3) => 3
        math.abs(-1.5) => 1.5
        math.sign(-3) => -1
        math.sign(0.0) => 0.0
        math.ceil(1.2) => 2.0
        math.floor(-1.2) => -2.0
        math.round(2.5) => 3.0
        math.round(-2.5) => -3.0
        math.trunc(-1.9) => -1.0
        math.sqrt(16) => 4.0
        math.isNaN(double("NaN")) => true
        math.isInf(1.0 / 0.0) => true
        math.isFinite(1.0) => true
        math.bitAnd(6, 3) => 2
        math.bitOr(6, 3) => 7
        math.bitXor(6u, 3u) => 5u
        math.bitNot(0) => -1
        math.bitShiftLeft(1, 4) => 16
        math.bitShiftRight(-1, 60) => 15
        math.bitShiftLeft(1, 64) => 0
        int(math.round(x * 10.0)) => 15
        "#,
    );
}

#[test]
fn names_of_types_and_spaces_can_be_names_of_values() {
    use super::Names;
    use moa_core::expr::Program;
    let scope = Names::of(serde_json::json!({
        "map": {"output": 1}, "type": "big", "math": {"abs": 2}, "string": [7],
    }));
    for (source, expected) in [
        ("map.output", "1"),
        ("type", "\"big\""),
        ("math.abs + math.abs(-1)", "3"),
        ("string[0]", "7"),
        ("string(string[0])", "\"7\""),
    ] {
        let value = Program::compile(source).unwrap().eval(&scope).unwrap();
        assert_eq!(value.to_json().to_string(), expected, "{source}");
    }
}
