//! Floor 8: what people read and look at. Pure functions of a [`crate::output::Summary`], of a result folder, or of
//! what many runs say (a [`crate::experiment::Study`], a [`crate::experiment::Comparison`], a sweep, a search) into
//! text and pictures; nothing here knows how the figures came about.

mod chart;
mod charts;
mod closing;
mod comparison;
mod dependency_chart;
mod experiment_charts;
mod figures;
mod gallery;
#[cfg(test)]
mod made_up;
mod markdown;
mod node_chart;
mod page;
mod pen;
mod plot;
mod search;
mod series;
mod spread;
mod study;
mod style;
mod sweep;
mod sweep_charts;
mod terminal;
mod waits;

pub use charts::{CHARTS_FOLDER, LatencyScale, overview_path, write_charts};
pub use closing::closing_sentence;
pub use comparison::{write_comparison, write_comparison_markdown};
pub use experiment_charts::{write_comparison_charts, write_study_charts};
pub use markdown::write_markdown;
pub use search::{write_search, write_search_charts, write_search_markdown};
pub use study::{write_study, write_study_markdown};
pub use style::Style;
pub use sweep::{write_sweep, write_sweep_markdown};
pub use sweep_charts::write_sweep_charts;
pub use terminal::write_summary;
