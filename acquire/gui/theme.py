"""How the window looks: dark for a dark room, light on request; one place for every colour and size.

The marks of spines and lights never differ by colour alone. The colours are those of Okabe and Ito, which nearly all
people can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PyQt6.QtGui import QColor, QPalette
from PyQt6.QtWidgets import QApplication

from acquire.model import Light
from analysis.model import Verdict

FONT_PT = 11
BUTTON_PX = 40  # gloves
BOX_PX = 20
HALF = 128  # of lightness
LOOK = Path(__file__).parent / "look"


@dataclass(frozen=True)
class Theme:
    """The colours of one look."""

    background: str
    panel: str
    raised: str
    line: str
    text: str
    quiet: str
    accent: str
    good: str
    warn: str
    bad: str
    light_on: str


DARK = Theme(
    background="#121417",
    panel="#1b1f24",
    raised="#262c33",
    line="#39424c",
    text="#e6e9ec",
    quiet="#98a3ae",
    accent="#56b4e9",
    good="#2fbf8f",
    warn="#f0b13c",
    bad="#ff7a45",
    light_on="#ff3b30",
)
BRIGHT = Theme(
    background="#f4f5f7",
    panel="#ffffff",
    raised="#e9ecef",
    line="#c3cad1",
    text="#14181c",
    quiet="#5a6672",
    accent="#0072b2",
    good="#00795a",
    warn="#9a6200",
    bad="#c43d00",
    light_on="#d0021b",
)
_chosen = [DARK]


def theme() -> Theme:
    """Return the look that was chosen."""
    return _chosen[0]


def choose_theme(app: QApplication, *, bright: bool = False) -> None:
    """Give the application a look, before its first window."""
    _chosen[0] = look = BRIGHT if bright else DARK
    app.setStyle("Fusion")
    palette = QPalette()
    roles = QPalette.ColorRole
    for role, colour in {
        roles.Window: look.background,
        roles.Base: look.panel,
        roles.AlternateBase: look.raised,
        roles.Button: look.raised,
        roles.ToolTipBase: look.raised,
        roles.Link: look.accent,
        roles.LinkVisited: look.accent,
        roles.Highlight: look.accent,
        roles.HighlightedText: look.background,
        roles.WindowText: look.text,
        roles.Text: look.text,
        roles.ButtonText: look.text,
        roles.ToolTipText: look.text,
        roles.PlaceholderText: look.quiet,
    }.items():
        palette.setColor(role, QColor(colour))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(look.quiet))
    app.setPalette(palette)
    font = app.font()
    font.setPointSize(FONT_PT)
    app.setFont(font)
    app.setStyleSheet(style_sheet(look))


def style_sheet(look: Theme) -> str:
    """Return the style sheet of a look."""
    return f"""
    QWidget {{ color: {look.text}; }}
    QToolTip {{ color: {look.text}; background: {look.raised}; border: 1px solid {look.line}; }}
    QPushButton, QToolButton {{ background: {look.raised}; border: 1px solid {look.line}; border-radius: 6px;
        padding: 6px 14px; min-height: {BUTTON_PX - 14}px; }}
    QPushButton:hover, QToolButton:hover {{ border-color: {look.accent}; }}
    QPushButton:focus, QToolButton:focus, QLineEdit:focus, QComboBox:focus, QAbstractSpinBox:focus,
    QTableView:focus, QListView:focus {{ border: 2px solid {look.accent}; }}
    QPushButton:disabled, QToolButton:disabled {{ color: {look.quiet}; background: {look.panel}; }}
    QPushButton:checked, QToolButton:checked {{ border-color: {look.accent}; color: {look.accent}; }}
    QPushButton[primary="true"] {{ background: {look.accent}; color: {look.background}; font-weight: bold; }}
    QPushButton[primary="true"]:disabled {{ background: {look.panel}; color: {look.quiet}; }}
    QPushButton#stop {{ background: {look.light_on}; color: white; font-weight: bold; }}
    QLineEdit, QComboBox, QAbstractSpinBox {{ background: {look.panel}; border: 1px solid {look.line};
        border-radius: 4px; padding: 4px 6px; min-height: {BUTTON_PX - 16}px; }}
    QTableView, QListView, QPlainTextEdit {{ background: {look.panel}; border: 1px solid {look.line};
        gridline-color: {look.line}; selection-background-color: {look.accent};
        selection-color: {look.background}; }}
    QTableView::item {{ padding: 4px 6px; }}
    QHeaderView::section {{ background: {look.raised}; border: none; border-bottom: 1px solid {look.line};
        padding: 6px; }}
    QFrame#panel {{ background: {look.panel}; border: 1px solid {look.line}; border-radius: 8px; }}
    QWidget#rail, QWidget#strip, QWidget#foot {{ background: {look.panel}; }}
    QWidget#rail QToolButton {{ border: none; border-radius: 0; border-left: 4px solid transparent;
        background: transparent; padding: 8px 12px; }}
    QWidget#rail QToolButton:checked {{ border-left-color: {look.accent}; background: {look.raised}; }}
    QLabel#quiet, QLabel[quiet="true"] {{ color: {look.quiet}; }}
    QLabel#title {{ font-size: {FONT_PT + 7}pt; font-weight: bold; }}
    QLabel#light {{ border-radius: 6px; padding: 6px 14px; font-weight: bold; font-size: {FONT_PT + 2}pt;
        background: {look.raised}; color: {look.quiet}; }}
    QLabel#light[lit="true"] {{ background: {look.light_on}; color: white; }}
    QLabel#value {{ font-size: {FONT_PT + 2}pt; font-weight: bold; }}
    QLabel#message {{ padding: 4px 8px; }}
    QLabel#message[error="true"] {{ color: {look.bad}; font-weight: bold; }}
    QProgressBar {{ background: {look.raised}; border: none; border-radius: 4px; text-align: center; }}
    QProgressBar::chunk {{ background: {look.accent}; border-radius: 4px; }}
    QTabBar::tab {{ background: {look.panel}; border: 1px solid {look.line}; padding: 8px 16px; }}
    QTabBar::tab:selected {{ background: {look.raised}; border-bottom: 2px solid {look.accent}; }}
    QTabWidget::pane {{ border: none; background: {look.background}; }}
    QScrollArea {{ border: none; }}
    {_boxes(look)}{_arrows(look)}{_bars(look)}
    """


def _boxes(look: Theme) -> str:
    """Return how boxes to tick and choices look: a frame that is seen in the dark, a tick or a dot."""
    dot = f"stop: 0.45 {look.accent}, stop: 0.55 {look.panel}"
    return f"""
    QCheckBox, QRadioButton {{ spacing: 10px; min-height: {BUTTON_PX - 8}px; }}
    QCheckBox::indicator, QRadioButton::indicator, QAbstractItemView::indicator {{ width: {BOX_PX}px;
        height: {BOX_PX}px; border: 2px solid {look.quiet}; border-radius: 4px; background: {look.panel}; }}
    QRadioButton::indicator {{ border-radius: {BOX_PX // 2 + 2}px; }}
    QCheckBox::indicator:hover, QRadioButton::indicator:hover, QCheckBox::indicator:focus,
    QRadioButton::indicator:focus {{ border-color: {look.text}; }}
    QCheckBox::indicator:checked, QAbstractItemView::indicator:checked {{ background: {look.accent};
        border-color: {look.accent}; image: {_drawn("tick", look.background)}; }}
    QRadioButton::indicator:checked {{ border-color: {look.accent};
        background: qradialgradient(cx: 0.5, cy: 0.5, radius: 0.5, fx: 0.5, fy: 0.5, {dot}); }}
    QCheckBox::indicator:checked:focus, QRadioButton::indicator:checked:focus {{ border-color: {look.text}; }}
    QCheckBox:disabled, QRadioButton:disabled {{ color: {look.quiet}; }}
    QCheckBox::indicator:disabled, QRadioButton::indicator:disabled {{ border-color: {look.line}; }}
    QCheckBox::indicator:checked:disabled {{ background: {look.quiet}; border-color: {look.quiet}; }}
    """


def _arrows(look: Theme) -> str:
    """Return how the arrows of lists and numbers look."""
    up, down = (_drawn(name, look.text) for name in ("up", "down"))
    return f"""
    QComboBox::drop-down {{ border: none; width: 30px; }}
    QComboBox::down-arrow {{ image: {down}; width: 14px; height: 14px; }}
    QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ subcontrol-origin: border; width: 24px;
        border: none; background: transparent; }}
    QAbstractSpinBox::up-button {{ subcontrol-position: top right; }}
    QAbstractSpinBox::down-button {{ subcontrol-position: bottom right; }}
    QAbstractSpinBox::up-button:hover, QAbstractSpinBox::down-button:hover {{ background: {look.raised}; }}
    QAbstractSpinBox::up-arrow {{ image: {up}; width: 12px; height: 12px; }}
    QAbstractSpinBox::down-arrow {{ image: {down}; width: 12px; height: 12px; }}
    """


def _bars(look: Theme) -> str:
    """Return how bars to scroll, sliders and the edges of tables look."""
    return f"""
    QScrollBar {{ background: {look.panel}; border: none; }}
    QScrollBar:vertical {{ width: 14px; }}
    QScrollBar:horizontal {{ height: 14px; }}
    QScrollBar::handle {{ background: {look.line}; border-radius: 5px; margin: 2px; }}
    QScrollBar::handle:vertical {{ min-height: {BUTTON_PX}px; }}
    QScrollBar::handle:horizontal {{ min-width: {BUTTON_PX}px; }}
    QScrollBar::handle:hover {{ background: {look.quiet}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: none; }}
    QSlider:horizontal {{ min-height: {BOX_PX + 6}px; }}
    QSlider::groove:horizontal {{ height: 6px; border-radius: 3px; background: {look.line}; }}
    QSlider::handle:horizontal {{ width: {BOX_PX}px; margin: -{BOX_PX // 2 - 3}px 0; border-radius: {BOX_PX // 2}px;
        background: {look.quiet}; }}
    QSlider::handle:horizontal:hover {{ background: {look.accent}; }}
    QHeaderView, QTableCornerButton::section {{ background: {look.raised}; border: none; }}
    QListView::item {{ padding: 2px 6px; min-height: 26px; }}
    """


def _drawn(name: str, colour: str) -> str:
    """Return the picture of a tick or an arrow in dark or light, for a style sheet."""
    shade = "dark" if QColor(colour).lightness() < HALF else "light"
    return f'url("{(LOOK / f"{name}-{shade}.svg").as_posix()}")'


def colour_of(what: Light | Verdict | None) -> str:
    """Return the colour of a light or a verdict; it always stands beside its word."""
    look = theme()
    return {
        Light.GREEN: look.good,
        Light.AMBER: look.warn,
        Light.RED: look.bad,
        Verdict.FOUND: look.good,
        Verdict.UNSURE: look.warn,
        Verdict.NOT_FOUND: look.bad,
    }.get(what, look.quiet)  # type: ignore[arg-type]
