//! Plots as SVG: lines over linear or logarithmic axes.

use std::fmt::Write;

/// One line of a plot.
pub(crate) struct Series {
    /// Name in the legend.
    pub(crate) name: String,
    /// Points, by rising x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A picture of results.
pub(crate) struct Plot {
    /// File name, without extension.
    pub(crate) file: &'static str,
    /// Heading.
    pub(crate) title: String,
    /// What the axes are, with units.
    pub(crate) axes: (&'static str, &'static str),
    /// Whether x and y are logarithmic.
    pub(crate) log: (bool, bool),
    /// What is drawn.
    pub(crate) series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#b5451b", "#3b5b7a", "#6a8a3a", "#8a5a9a", "#b08a1b", "#555555"];

/// One axis: from values to pixels.
struct Axis {
    least: f64,
    most: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, log: bool, (from, to): (f64, f64)) -> Axis {
        let most = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        let least = values.fold(most, f64::min);
        let least = if log { least.max(most / 1e9).max(f64::MIN_POSITIVE) } else { least.min(0.0) };
        let most = if most > least { most } else { least + 1.0 };
        Axis { least, most, log, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(self.least).log10() } else { v };
        let (least, most) = (scale(self.least), scale(self.most));
        self.from + (scale(value) - least) / (most - least) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decade = |v: f64| v.log10().floor();
            let first = 10f64.powf(decade(self.least));
            let steps = std::iter::successors(Some(first), |tick| Some(tick * 10.0));
            return steps
                .take_while(|tick| *tick <= self.most * 1.001)
                .filter(|tick| *tick >= self.least * 0.999)
                .collect();
        }
        let rough = (self.most - self.least) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.least / step).ceil() * step;
        let steps = std::iter::successors(Some(first), |tick| Some(tick + step));
        steps.take_while(|tick| *tick <= self.most * 1.001).collect()
    }
}

/// A number with the digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 1e6 => format!("{}M", value / 1e6),
        v if v >= 1e4 => format!("{}k", value / 1e3),
        v if v >= 10.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

impl Plot {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let x = Axis::new(points().map(|p| p.0), self.log.0, (LEFT, WIDTH - RIGHT));
        let y = Axis::new(points().map(|p| p.1), self.log.1, (HEIGHT - BOTTOM, TOP));
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' \
             font-family='sans-serif' font-size='12'>\
             <rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>\
             <text x='10' y='20' font-size='14'>{}</text>\n",
            self.title
        );
        let (left, right, bottom) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in x.ticks() {
            let (at, text) = (x.at(tick), short(tick));
            let _ = writeln!(
                svg,
                "<path d='M{at:.1} {TOP}V{bottom}' stroke='#ddd'/>\
                 <text x='{at:.1}' y='{}' text-anchor='middle'>{text}</text>",
                bottom + 16.0
            );
        }
        for tick in y.ticks() {
            let (at, text) = (y.at(tick), short(tick));
            let _ = writeln!(
                svg,
                "<path d='M{left} {at:.1}H{right}' stroke='#ddd'/>\
                 <text x='{}' y='{:.1}' text-anchor='end'>{text}</text>",
                left - 6.0,
                at + 4.0
            );
        }
        for (number, series) in self.series.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let mut path = String::new();
            for (at, point) in series.points.iter().enumerate() {
                let letter = if at == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", x.at(point.0), y.at(point.1));
            }
            let legend = TOP + 10.0 + 18.0 * number as f64;
            let _ = writeln!(
                svg,
                "<path d='{path}' fill='none' stroke='{colour}' stroke-width='2'/>\
                 <rect x='{}' y='{}' width='12' height='12' fill='{colour}'/>\
                 <text x='{}' y='{}'>{}</text>",
                right + 10.0,
                legend - 10.0,
                right + 28.0,
                legend,
                series.name
            );
        }
        let _ = writeln!(
            svg,
            "<text x='{:.0}' y='{}' text-anchor='middle'>{}</text>\
             <text x='14' y='{}'>{}</text></svg>",
            f64::midpoint(left, right),
            HEIGHT - 12.0,
            self.axes.0,
            TOP - 6.0,
            self.axes.1
        );
        svg
    }
}
