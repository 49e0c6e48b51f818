//! Floor 8: what people read and look at. Pure functions of a [`crate::output::Summary`] or of a result
//! folder into text and pictures; nothing here knows how the figures came about.

mod chart;
mod charts;
mod closing;
mod markdown;
mod series;
mod style;
mod terminal;

pub use charts::{CHARTS_FOLDER, LatencyScale, overview_path, write_charts};
pub use closing::closing_sentence;
pub use markdown::write_markdown;
pub use style::Style;
pub use terminal::write_summary;
