//! Notations: what is taken, what is refused, and that printing and reading are inverse.

use proptest::prelude::*;

use super::*;
use crate::kernel::SimDuration;

#[test]
fn times() {
    let ms = |text: &str| parse_duration(text).unwrap().as_nanos() / 1_000_000;
    for (text, expected) in [
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("1.5h", 5_400_000),
        ("500ms", 500),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
        ("5 minutes", 300_000),
        ("0", 0),
        ("0s", 0),
        ("+1_000 ms", 1_000),
        (".5s", 500),
    ] {
        assert_eq!(ms(text), expected, "{text}");
    }
    for (text, part) in [
        ("", "empty"),
        ("90", "no unit of time"),
        ("-5s", "negative"),
        ("NaN", "not a finite number"),
        ("inf s", "not a finite number"),
        ("soon", "does not start with a number"),
        ("3 months", "no fixed length"),
        ("5 parsecs", "not a unit of time"),
        ("30m1h", "large to small"),
        ("1h1h", "large to small"),
        ("1e3s", "not a unit of time"),
        ("1.2.3s", "no unit of time"),
        ("600y", "no fixed length"),
        ("300000d", "too long"),
        ("99999999999999999999999999999999999999999s", "too many digits"),
    ] {
        let error = parse_duration(text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn cpu() {
    for (text, parts) in [
        ("512", 64_000),
        ("512 units", 64_000),
        ("0.5 vCPU", 64_000),
        ("500m", 64_000),
        ("1 vCPU", 128_000),
        ("0.1 vCPU", 12_800),
        ("2 cores", 256_000),
    ] {
        assert_eq!(parse_cpu(text).unwrap(), Cpu::from_parts(parts), "{text}");
    }
    for (text, part) in [
        ("0.5", "fraction of an ECS CPU unit"),
        ("-1 vCPU", "negative"),
        ("1 GHz", "not a unit of CPU"),
        ("99999999 vCPU", "a million"),
    ] {
        assert!(parse_cpu(text).unwrap_err().message.contains(part), "{text}");
    }
    assert!(parse_cpu("0.5").unwrap_err().help.unwrap().contains("0.5 vCPU"));
}

#[test]
fn bytes_in_both_worlds() {
    let decimal = |t: &str| parse_bytes(t, ByteNotation::Decimal, None).map(Bytes::get);
    let memory = |t: &str| parse_bytes(t, ByteNotation::TaskMemory, Some(1 << 20)).map(Bytes::get);
    assert_eq!(decimal("350 MB"), Ok(350_000_000));
    assert_eq!(memory("1 GB"), Ok(1 << 30));
    assert_eq!(memory("0.5 GB"), Ok(512 << 20));
    assert_eq!(memory("512"), Ok(512 << 20));
    assert_eq!(memory("512 MiB"), Ok(512 << 20));
    for notation in [ByteNotation::Decimal, ByteNotation::TaskMemory] {
        let bytes = |t: &str| parse_bytes(t, notation, None).map(Bytes::get);
        assert_eq!(bytes("1Gi"), Ok(1 << 30));
        assert_eq!(bytes("1G"), Ok(1_000_000_000));
        assert_eq!(bytes("128Mi"), Ok(128 << 20));
        assert_eq!(bytes("1k"), Ok(1_000));
        assert_eq!(bytes("7 B"), Ok(7));
        assert_eq!(bytes("0"), Ok(0));
    }
    for (text, part) in [
        ("350", "no unit"),
        ("350 Mb", "not a unit of data"),
        ("128m", "thousandths"),
        ("-1 MB", "negative"),
        ("99999999 TB", "8 EiB"),
    ] {
        assert!(decimal(text).unwrap_err().message.contains(part), "{text}");
    }
}

#[test]
fn money_and_percentages() {
    assert_eq!(parse_usd("$4"), Ok(Usd::from_nanos(4_000_000_000)));
    assert_eq!(parse_usd("$0.04048/h"), Ok(Usd::from_nanos(40_480_000)));
    assert_eq!(parse_usd("4 USD"), Ok(Usd::from_nanos(4_000_000_000)));
    assert!(parse_usd("$40/day").unwrap_err().help.is_some());
    assert!(parse_usd("-$4").is_err());
    assert_eq!(parse_percent("99.9 %"), Ok(99.9));
    assert_eq!(parse_percent("99.9"), Ok(99.9));
    assert!(parse_percent("99.9 ms").is_err());
    assert_eq!(print_usd(Usd::from_nanos(-40_480_000)), "-$0.04048");
}

proptest! {
    #[test]
    fn printed_times_read_back(nanos in prop_oneof![any::<u64>(), 0u64..10_000_000_000, (0u64..1_000_000).prop_map(|s| s * 1_000_000_000)]) {
        let d = SimDuration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&print_duration(d)), Ok(d));
    }

    #[test]
    fn printed_cpu_reads_back(parts in 0u64..100_000_000_000) {
        let cpu = Cpu::from_parts(parts);
        prop_assert_eq!(parse_cpu(&print_cpu(cpu)), Ok(cpu));
    }

    #[test]
    fn printed_bytes_read_back(n in prop_oneof![0u64..1 << 62, (0u64..1 << 20).prop_map(|m| m << 20), (0u64..1_000_000).prop_map(|m| m * 1_000_000)]) {
        for notation in [ByteNotation::Decimal, ByteNotation::TaskMemory] {
            prop_assert_eq!(parse_bytes(&print_bytes(Bytes::new(n), notation), notation, None), Ok(Bytes::new(n)));
        }
    }

    #[test]
    fn printed_money_reads_back(n in 0i64..i64::MAX) {
        prop_assert_eq!(parse_usd(&print_usd(Usd::from_nanos(n))), Ok(Usd::from_nanos(n)));
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,24}|[0-9.]{0,40}[a-zA-Z%$/ ]{0,6}") {
        let _ = parse_duration(&text);
        let _ = parse_cpu(&text);
        let _ = parse_bytes(&text, ByteNotation::Decimal, None);
        let _ = parse_bytes(&text, ByteNotation::TaskMemory, Some(1 << 20));
        let _ = parse_usd(&text);
        let _ = parse_percent(&text);
        let _ = parse_number(&text);
    }
}
