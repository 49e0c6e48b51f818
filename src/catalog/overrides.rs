//! A price file of the user's: `region,service,item,usd`.

use super::{Catalog, CatalogError, Confidence, EC2, EC2_SPOT, Price, PricePoint, Problem, suggest};

const COLUMNS: [&str; 4] = ["region", "service", "item", "usd"];

/// Puts the prices of a CSV text over those of `catalog`. The region `*` means every region. All
/// mistakes are reported at once, in order.
pub(super) fn apply(catalog: &mut Catalog, text: &str, file: &str) -> Result<(), CatalogError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Vec::new();
    let mut points = Vec::new();
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).comment(Some(b'#')).from_reader(text.as_bytes());
    let mut columns: Option<[usize; 4]> = None;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(1, csv::Position::line);
                problems.push(Problem {
                    line,
                    column: 1,
                    message: format!("this line cannot be read as CSV: {error}"),
                });
                break;
            }
        };
        // The reader's positions leave out what it skips before a record; the byte offset does not.
        let start = record.position().map_or(0, |p| p.byte() as usize);
        let place = Place::at(text, start);
        let Some(columns) = columns else {
            match header(&record, &place, &mut problems) {
                Some(found) => columns = Some(found),
                None => break,
            }
            continue;
        };
        if let Some(point) = row(catalog, &record, columns, &place, file, &mut problems) {
            points.extend(point);
        }
    }
    if columns.is_none() && problems.is_empty() {
        problems.push(Problem {
            line: 1,
            column: 1,
            message: "no header: the first line must be region,service,item,usd".into(),
        });
    }
    if !problems.is_empty() {
        return Err(CatalogError::Overrides { file: file.to_string(), problems });
    }
    for point in points {
        catalog.insert(point);
    }
    Ok(())
}

/// Where a record stands in the text.
struct Place<'a> {
    line: u64,
    text: &'a str,
}

impl<'a> Place<'a> {
    fn at(text: &'a str, byte: usize) -> Self {
        // A record's offset may point at the line breaks and comments before it.
        let mut start = byte.min(text.len());
        loop {
            let line = text.get(start..).unwrap_or("").split_inclusive('\n').next().unwrap_or("");
            let blank = line.trim_end_matches(['\r', '\n']).is_empty() || line.starts_with('#');
            if !blank || line.is_empty() {
                break;
            }
            start += line.len();
        }
        let line = text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        Self { line, text: text.get(start..).unwrap_or("").lines().next().unwrap_or("") }
    }

    /// The 1-based character column at which field `index` begins; the line's end if it has fewer.
    fn column(&self, index: usize) -> u64 {
        let (mut field, mut quoted) = (0, false);
        for (position, c) in self.text.chars().enumerate() {
            if field == index {
                return position as u64 + 1;
            }
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => field += 1,
                _ => {}
            }
        }
        self.text.chars().count() as u64 + 1
    }

    fn problem(&self, index: usize, message: String) -> Problem {
        Problem { line: self.line, column: self.column(index), message }
    }
}

fn header(record: &csv::StringRecord, place: &Place<'_>, problems: &mut Vec<Problem>) -> Option<[usize; 4]> {
    let before = problems.len();
    let mut found = [None; 4];
    for (index, name) in record.iter().enumerate() {
        match COLUMNS.iter().position(|c| *c == name.trim()) {
            Some(column) if found[column].is_none() => found[column] = Some(index),
            Some(_) => problems.push(place.problem(index, format!("column `{}` stands twice", name.trim()))),
            None => problems.push(place.problem(
                index,
                format!(
                    "unknown column `{}`{}; a price file has region, service, item, usd",
                    name.trim(),
                    suggest(name.trim(), COLUMNS)
                ),
            )),
        }
    }
    for (name, index) in COLUMNS.iter().zip(found) {
        if index.is_none() {
            problems.push(place.problem(record.len(), format!("column `{name}` is missing")));
        }
    }
    match found {
        [Some(a), Some(b), Some(c), Some(d)] if problems.len() == before => Some([a, b, c, d]),
        _ => None,
    }
}

fn row(
    catalog: &Catalog,
    record: &csv::StringRecord,
    columns: [usize; 4],
    place: &Place<'_>,
    file: &str,
    problems: &mut Vec<Problem>,
) -> Option<Vec<PricePoint>> {
    if record.len() != COLUMNS.len() {
        problems
            .push(place.problem(record.len().min(COLUMNS.len()), format!("expected 4 fields, found {}", record.len())));
        return None;
    }
    let [region, service, item, usd] = columns.map(|c| record.get(c).unwrap_or("").trim());
    let before = problems.len();
    if region != "*" && !catalog.regions().any(|r| r.id == region) {
        let hint = suggest(region, catalog.regions().map(|r| r.id.as_str()));
        problems.push(place.problem(columns[0], format!("unknown region `{region}`{hint}")));
    }
    let unit = catalog.unit_of(service, item);
    if unit.is_none() {
        let services: Vec<&str> = catalog.services().chain([EC2, EC2_SPOT]).collect();
        if [EC2, EC2_SPOT].contains(&service) {
            let hint = suggest(item, catalog.instance_types().iter().map(|t| t.name));
            problems.push(place.problem(columns[2], format!("unknown instance type `{item}`{hint}")));
        } else if services.contains(&service) {
            let hint = suggest(item, catalog.items_of(service));
            problems.push(place.problem(columns[2], format!("unknown item `{item}` of service `{service}`{hint}")));
        } else {
            let hint = suggest(service, services);
            problems.push(place.problem(columns[1], format!("unknown service `{service}`{hint}")));
        }
    }
    let price: Option<Price> = match usd.parse() {
        Ok(price) => Some(price),
        Err(error) => {
            problems.push(place.problem(columns[3], error.to_string()));
            None
        }
    };
    if problems.len() > before {
        return None;
    }
    let (price, unit) = (price?, unit?.to_string());
    let regions: Vec<String> = match region {
        "*" => catalog.regions().map(|r| r.id.clone()).collect(),
        one => vec![one.to_string()],
    };
    let point = |region: String| PricePoint {
        listed_in: region.clone(),
        region,
        service: service.to_string(),
        item: item.to_string(),
        unit: unit.clone(),
        price,
        source: file.to_string(),
        as_of: None,
        confidence: Confidence::Given,
    };
    Some(regions.into_iter().map(point).collect())
}
