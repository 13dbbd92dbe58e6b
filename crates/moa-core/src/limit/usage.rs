//! What an attempt has spent, as it reports it: money and tokens.
//!
//! Money is kept in whole micro-dollars. What is reported more exactly is rounded up, so that many
//! small amounts never count as nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::limits::{USAGE_TOKENS_MAX, USAGE_USD_MAX};

/// Micro-dollars of a dollar.
const MICROS: u64 = 1_000_000;
/// Digits of a dollar's fraction.
const PLACES: i64 = 6;
/// Characters of an amount.
const AMOUNT_CHARS_MAX: usize = 64;

/// US dollars, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub u64);

/// What was spent, of each unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Money.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    pub usd: Usd,
    /// Tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usd {
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Usd {
    /// At least cents: `20.00`, `0.0125`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fraction = format!("{:06}", self.0 % MICROS);
        while fraction.len() > 2 && fraction.ends_with('0') {
            fraction.pop();
        }
        write!(f, "{}.{fraction}", self.0 / MICROS)
    }
}

impl FromStr for Usd {
    type Err = String;

    /// A decimal number that is not negative: `20`, `0.0125`, `1.25e-3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let shown: String = text.chars().take(AMOUNT_CHARS_MAX).collect();
        if text.starts_with('-') {
            return Err(format!("{shown:?} is negative"));
        }
        let max = || format!("{shown} US dollars are too many");
        let parts = (text.len() <= AMOUNT_CHARS_MAX).then(|| parts(text)).flatten();
        let Some((digits, exponent)) = parts else {
            return Err(format!("{shown:?} is not an amount of US dollars; write 0.12"));
        };
        let Ok(mantissa) = digits.parse::<u128>() else { return Err(max()) };
        let micros = match exponent + PLACES {
            0.. if mantissa == 0 => 0,
            up @ 0..=30 => mantissa.checked_mul(10_u128.pow(up as u32)).ok_or_else(max)?,
            31.. => return Err(max()),
            down @ -38..=-1 => mantissa.div_ceil(10_u128.pow(down.unsigned_abs() as u32)),
            // Less than the least that is counted.
            _ => u128::from(mantissa > 0),
        };
        u64::try_from(micros).map(Self).map_err(|_| max())
    }
}

/// The digits of a decimal number, and the power of ten that they are multiplied by.
fn parts(text: &str) -> Option<(String, i64)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let any = !(whole.is_empty() || (fraction.is_empty() && number.contains('.')));
    let digits = format!("{whole}{fraction}");
    let fits = any && all_digits(&digits);
    fits.then(|| (digits, i64::from(exponent) - fraction.len() as i64))
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        usd(&Json::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Money out of a JSON number or string.
fn usd(json: &Json) -> Result<Usd, String> {
    match json {
        // The shortest text of a number is the one that it was written as.
        Json::Number(number) => number.to_string().parse(),
        Json::String(text) => text.parse(),
        _ => Err("it is not an amount of US dollars; write 0.12".into()),
    }
}

fn tokens(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{:?} is not a number of tokens", text.chars().take(40).collect::<String>());
    text.trim().parse().map_err(|_| wrong())
}

impl Usage {
    /// Nothing.
    pub const NONE: Self = Self { usd: Usd(0), tokens: 0 };

    /// Whether nothing was spent.
    pub fn is_nothing(&self) -> bool {
        *self == Self::NONE
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        let usd = Usd(self.usd.0.saturating_add(other.usd.0));
        Self { usd, tokens: self.tokens.saturating_add(other.tokens) }
    }

    /// What is left without the other.
    pub fn minus(self, other: Self) -> Self {
        let usd = Usd(self.usd.0.saturating_sub(other.usd.0));
        Self { usd, tokens: self.tokens.saturating_sub(other.tokens) }
    }

    /// What an agent says in JSON: `{"usd": 0.12, "tokens": 5321}`, each where it has any. Other keys
    /// are its own affair. Errors: what is wrong, for people.
    pub fn of_json(json: &Json) -> Result<Self, String> {
        let Json::Object(map) = json else {
            return Err("it is not a JSON object such as {\"usd\": 0.12, \"tokens\": 5321}".into());
        };
        let given = |key: &str| map.get(key).filter(|v| !v.is_null());
        let tokens = |v: &Json| match v {
            Json::Number(number) => tokens(&number.to_string()),
            _ => Err("`tokens` is not a number".to_owned()),
        };
        let usd = given("usd").map(usd).transpose()?.unwrap_or_default();
        Self { usd, tokens: given("tokens").map(tokens).transpose()?.unwrap_or_default() }.meant()
    }

    /// What an agent says in one line: `usd=0.12, tokens=5321`. Errors: what is wrong, for people.
    pub fn of_line(line: &str) -> Result<Self, String> {
        let (mut usage, mut seen) = (Self::NONE, Vec::new());
        for part in line.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            match key.as_str() {
                "usd" => usage.usd = value.parse()?,
                "tokens" => usage.tokens = tokens(value)?,
                _ => continue,
            }
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            seen.push(key);
        }
        match seen.is_empty() {
            true => Err("it says neither `usd=0.12` nor `tokens=5321`".into()),
            false => usage.meant(),
        }
    }

    /// The same, if it is not more than anybody can mean.
    pub fn meant(self) -> Result<Self, String> {
        if self.usd.0 > USAGE_USD_MAX {
            return Err(format!("{} USD are more than {}", self.usd, Usd(USAGE_USD_MAX)));
        }
        match self.tokens > USAGE_TOKENS_MAX {
            true => Err(format!("{} tokens are more than {USAGE_TOKENS_MAX}", self.tokens)),
            false => Ok(self),
        }
    }
}

impl fmt::Display for Usage {
    /// `0.12 USD, 5321 tokens`; of what there is none nothing is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = (!self.usd.is_zero()).then(|| format!("{} USD", self.usd));
        let tokens = match self.tokens {
            0 => None,
            1 => Some("1 token".to_owned()),
            n => Some(format!("{n} tokens")),
        };
        let all: Vec<String> = usd.into_iter().chain(tokens).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn money_is_exact() {
        let micros = |text: &str| text.parse::<Usd>().map(|usd| usd.0);
        assert_eq!(micros("0.12"), Ok(120_000));
        assert_eq!(micros("20"), Ok(20_000_000));
        assert_eq!(micros(" 1.25e-3 "), Ok(1250));
        assert_eq!(micros("2E1"), Ok(20_000_000));
        assert_eq!(micros(".5"), Err("\".5\" is not an amount of US dollars; write 0.12".into()));
        assert_eq!(micros("0.0000001"), Ok(1), "rounded up");
        assert_eq!(micros("1e-300"), Ok(1));
        assert_eq!(micros("0e999"), Ok(0));
        assert_eq!(micros("0e-999"), Ok(0));
        for text in ["0.1", "0.2", "0.3", "0.000001", "12345678.9", "999999999.999999"] {
            let one: Usd = text.parse().expect("an amount");
            assert_eq!(one.to_string().parse(), Ok(one));
            let number: Json = serde_json::from_str(text).expect("JSON");
            assert_eq!(usd(&number), Ok(one), "{text}");
        }
        assert_eq!(Usd(20_000_000).to_string(), "20.00");
        assert_eq!(Usd(12_500).to_string(), "0.0125");
    }

    #[test]
    fn what_is_no_money_is_refused() {
        for text in
            ["", "-1", "-0", "NaN", "inf", "1,5", "1_000", "0x10", "1e", "1.", "1e99", "1.2.3"]
        {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
        let long = "9".repeat(100_000);
        assert!(long.parse::<Usd>().expect_err("too long").len() < 200);
        assert!("1e14".parse::<Usd>().is_err());
        assert!(Usage::of_line("usd=1000000000.01").is_err(), "more than is ever meant");
        assert!(Usage::of_line("tokens=1000000000000001").is_err());
        // What was added up is read again, however much it is.
        let most = Usage { usd: Usd(u64::MAX), tokens: u64::MAX }.plus(Usage::NONE);
        let json = serde_json::to_string(&most).expect("JSON");
        assert_eq!(serde_json::from_str::<Usage>(&json).expect("usage"), most);
    }

    #[test]
    fn agents_say_it_in_json_or_in_a_line() {
        let usage = Usage { usd: Usd(120_000), tokens: 5321 };
        assert_eq!(Usage::of_json(&json!({"usd": 0.12, "tokens": 5321, "model": "x"})), Ok(usage));
        assert_eq!(Usage::of_json(&json!({"usd": "0.12", "tokens": 5321})), Ok(usage));
        assert_eq!(Usage::of_json(&json!({"usd": null})), Ok(Usage::NONE));
        assert_eq!(Usage::of_line("usd=0.12, tokens=5321"), Ok(usage));
        assert_eq!(Usage::of_line("Tokens = 5321; USD=0.12; cached=7"), Ok(usage));
        for wrong in [json!([]), json!(3), json!({"usd": -1}), json!({"usd": [1]})] {
            assert!(Usage::of_json(&wrong).is_err(), "{wrong}");
        }
        for wrong in [json!({"tokens": 1.5}), json!({"tokens": -1}), json!({"tokens": "9"})] {
            assert!(Usage::of_json(&wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0.12", "usd", "usd=", "usd=1, usd=1", "tokens=1e3", "tokens=-1"] {
            assert!(Usage::of_line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_is_said_in_words_and_kept_as_json() {
        let usage = Usage { usd: Usd(120_000), tokens: 5321 };
        assert_eq!(usage.to_string(), "0.12 USD, 5321 tokens");
        assert_eq!(Usage { tokens: 1, ..Usage::NONE }.to_string(), "1 token");
        assert_eq!(Usage::NONE.to_string(), "nothing");
        let json = serde_json::to_value(usage).expect("JSON");
        assert_eq!(json, json!({"usd": "0.12", "tokens": 5321}));
        assert_eq!(serde_json::from_value::<Usage>(json).expect("usage"), usage);
    }
}
