use super::*;

#[test]
fn the_embedded_tables_are_whole() {
    let catalog = Catalog::read().unwrap();
    for point in catalog.prices() {
        assert!(catalog.sources.contains_key(&point.source), "{point:?}");
        assert!(catalog.regions().any(|r| r.id == point.region), "{point:?}");
        assert_eq!(catalog.unit_of(&point.service, &point.item), Some(point.unit.as_str()), "{point:?}");
    }
    for key in catalog.plans.iter().map(|p| &p.source).chain(catalog.facts.iter().map(|f| &f.source)) {
        assert!(catalog.sources.contains_key(key), "{key}");
    }
    for region in catalog.regions() {
        let (mut at, mut steps) = (region.id.clone(), 0);
        while let Some(next) = catalog.regions().find(|r| r.id == at).and_then(|r| r.neighbour.clone()) {
            assert!(catalog.regions().any(|r| r.id == next), "{next}");
            (at, steps) = (next, steps + 1);
            assert!(steps < 10, "{region:?} has a cycle of neighbours");
        }
    }
}

#[test]
fn every_region_that_leads_to_a_listing_has_a_price() {
    let catalog = Catalog::embedded();
    for region in catalog.regions().filter(|r| !r.id.starts_with("us-gov")) {
        for (arch, spot) in [(Arch::X86, false), (Arch::X86, true), (Arch::Arm, false), (Arch::Arm, true)] {
            let price = catalog.fargate(&region.id, arch, spot).unwrap();
            assert!(price.vcpu_hour.price > price.gb_hour.price);
            assert_eq!(price.vcpu_hour.region, region.id);
        }
        for (service, item) in [
            ("elb", "alb_hour"),
            ("elb", "alb_lcu_hour"),
            ("vpc", "nat_gateway_hour"),
            ("cloudwatch", "logs_ingest_gb"),
        ] {
            assert!(catalog.price(&region.id, service, item).is_some(), "{} {service} {item}", region.id);
        }
    }
}

#[test]
fn a_neighbour_stands_in_and_says_so() {
    let catalog = Catalog::embedded();
    let price = catalog.require("eu-west-3", "cloudwatch", "logs_ingest_gb").unwrap();
    assert_eq!((price.region.as_str(), price.listed_in.as_str()), ("eu-west-3", "eu-west-1"));
    assert!(price.weak(jiff::civil::date(2026, 1, 5)).unwrap().to_string().contains("eu-west-1"));
    let own = catalog.require("us-east-1", "fargate", "x86_64_vcpu_hour").unwrap();
    assert_eq!((own.price.to_string().as_str(), own.listed_in.as_str()), ("0.04048", "us-east-1"));
    assert_eq!(own.weak(jiff::civil::date(2026, 1, 5)), None);
}

#[test]
fn regions_without_a_price_are_refused_with_a_reason() {
    let catalog = Catalog::embedded();
    assert!(catalog.price("us-gov-west-1", "fargate", "x86_64_vcpu_hour").is_none());
    let error = catalog.require("us-gov-west-1", "fargate", "x86_64_vcpu_hour").unwrap_err();
    assert!(error.to_string().contains("price file"), "{error}");
    let error = catalog.require("us-esat-1", "elb", "alb_hour").unwrap_err();
    assert!(error.to_string().contains("did you mean `us-east-1`"), "{error}");
}

#[test]
fn sizes_are_those_of_the_guide() {
    let catalog = Catalog::embedded();
    assert_eq!(catalog.fargate_sizes().len(), 77);
    for (cpu, memory, windows, valid) in [
        (256, 512, false, true),
        (256, 3072, false, false),
        (1024, 2500, false, false),
        (2048, 16384, false, true),
        (8192, 22528, false, false),
        (32768, 61440, false, true),
        (32768, 65536, false, false),
        (4096, 16384, true, true),
        (512, 1024, true, false),
    ] {
        assert_eq!(catalog.valid_fargate_size(cpu, memory, windows), valid, "{cpu} {memory} {windows}");
    }
}

#[test]
fn the_nearest_size_covers_what_was_asked() {
    let near = Catalog::embedded().nearest_fargate_sizes(1024, 2500, false, 3);
    assert_eq!((near[0].cpu_units, near[0].memory_mib), (1024, 3072));
    assert_eq!((near[1].cpu_units, near[1].memory_mib), (1024, 2048));
    assert_eq!(near.len(), 3);
    // Nothing covers it: still the nearest are given.
    let near = Catalog::embedded().nearest_fargate_sizes(65536, 262_144, false, 2);
    assert_eq!((near[0].cpu_units, near[0].memory_mib), (32768, 249_856));
    assert!(Catalog::embedded().nearest_fargate_sizes(256, 512, true, 5).iter().all(|s| s.windows));
}

#[test]
fn a_price_file_goes_over_the_catalog() {
    let text = "# ours\nregion,service,item,usd\nus-east-1,elb,alb_hour,0.02\n*,vpc,nat_gateway_gb,0.001\n";
    let catalog = Catalog::with_overrides(text, "ours.csv").unwrap();
    let alb = catalog.price("us-east-1", "elb", "alb_hour").unwrap();
    assert_eq!((alb.price.to_string().as_str(), alb.source.as_str()), ("0.02", "ours.csv"));
    assert_eq!(alb.weak(jiff::civil::date(2050, 1, 1)), None);
    assert_eq!(catalog.price("sa-east-1", "vpc", "nat_gateway_gb").unwrap().price.to_string(), "0.001");
    assert_eq!(
        catalog.price("eu-west-1", "elb", "alb_hour"),
        Catalog::embedded().price("eu-west-1", "elb", "alb_hour")
    );
    // Columns may stand in any order, with quotes, a byte order mark and Windows line ends.
    let text = "\u{feff}usd,item,service,region\r\n\"0.03\",alb_hour,elb,us-east-1\r\n";
    assert_eq!(
        Catalog::with_overrides(text, "x").unwrap().price("us-east-1", "elb", "alb_hour").unwrap().price.to_string(),
        "0.03"
    );
}

#[test]
fn mistakes_of_a_price_file_are_told_all_at_once() {
    let text = "region,service,item,usd\n\nus-east-1,elb,alb_huor,0.02\nus-east-1,\"elb\",alb_hour,cheap\n\
                moon-1,elb,alb_hour,-1\nus-east-1,elb,alb_hour\n";
    let Err(CatalogError::Overrides { problems, .. }) = Catalog::with_overrides(text, "ours.csv") else {
        panic!("refused");
    };
    let places: Vec<(u64, u64)> = problems.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(3, 15), (4, 26), (5, 1), (5, 21), (6, 23)]);
    assert!(problems[0].message.contains("did you mean `alb_hour`"), "{}", problems[0].message);
    for (text, hint) in [
        ("", "no header"),
        ("region,service,item,price\n", "did you mean"),
        ("region,service,item\n", "`usd` is missing"),
        ("region,service,item,usd,usd\n", "twice"),
        ("region,service,item,usd\nus-east-1,elbb,alb_hour,1\n", "unknown service"),
    ] {
        let error = Catalog::with_overrides(text, "p.csv").unwrap_err().to_string();
        assert!(error.contains(hint) && error.starts_with("p.csv:"), "{text:?}: {error}");
    }
}

#[test]
fn search_needs_every_word() {
    let catalog = Catalog::embedded();
    assert!(catalog.search("").len() > 300);
    let rows = catalog.search("US-EAST-1 alb");
    assert!(rows.len() >= 2 && rows.iter().all(|r| r.place == "us-east-1" && r.subject.contains("alb")));
    assert!(catalog.search("no such thing").is_empty());
    assert_eq!(catalog.search("savings plan").len(), 8);
}
