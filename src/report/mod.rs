//! Floor 8: what people read and look at. Pure functions of a [`crate::output::Summary`], of a result
//! folder or of what many runs say (a [`crate::experiment::Study`], a [`crate::experiment::Comparison`]) into text and pictures; nothing here knows how the figures came about.

mod chart;
mod charts;
mod closing;
mod comparison;
mod experiment_charts;
mod figures;
mod gallery;
#[cfg(test)]
mod made_up;
mod markdown;
mod page;
mod pen;
mod plot;
mod series;
mod spread;
mod study;
mod style;
mod terminal;

pub use charts::{CHARTS_FOLDER, LatencyScale, overview_path, write_charts};
pub use closing::closing_sentence;
pub use comparison::{write_comparison, write_comparison_markdown};
pub use experiment_charts::{write_comparison_charts, write_study_charts};
pub use markdown::write_markdown;
pub use study::{write_study, write_study_markdown};
pub use style::Style;
pub use terminal::write_summary;
mod temp;
pub use temp::*;
