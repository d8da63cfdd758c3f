"""The desk: study, rig and session under one hand, and the worker that alone speaks to the rig.

One verb at a time happens to the hardware. What a verb found out comes back in the window's own thread; what went wrong
is told in one sentence, after the shutter was closed. Knows no Qt: the window gives a function that brings things over.
What takes long to import is imported in the worker, so that the window is there at once.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from acquire.errors import RelocationError, RigError, StudyError
from acquire.gui.status import DARK, DeskStatus, Known
from acquire.gui.words import in_window, without_names
from analysis.errors import ExperimentError

if TYPE_CHECKING:
    from acquire.analysing import Analysed
    from acquire.live import View
    from acquire.model import Finding, RelocationRecord
    from acquire.rig import Rig
    from acquire.session import Session
    from acquire.store import Study

T = TypeVar("T")
LOG_FILE = "samefield-window.log"
TELL_AGAIN_S = 10.0  # what goes wrong at every look is written down once in so long
LEAVING_S = 60.0  # a rig that hangs longer is left to the watchdog
BUSY = "wait: {doing}"
NO_RIG = "the rig is not open"
NO_SESSION = "open a session first"
NO_FIELD = "choose a field first"
REOPEN_LATER = "close the session first: devices that start anew may stand elsewhere"
MOVING, LIVE, LIVE_SURFACE = "moving", "live", "live surface"
LEFT = "the live view ended: its page was left"


def _ignore(_result: object) -> None:
    """Show nothing."""


def _call(then: Callable[[T], object], result: T) -> None:
    then(result)


class Desk:
    """What the pages work with.

    Parameters
    ----------
    folder
        The study's folder; it may not exist yet.
    rig_name
        A rig config: a file, or one that travels with the program.
    who
        Who sits here, for the record.
    bring
        Calls a function in the window's thread, later; may be called from any thread.

    Attributes
    ----------
    say
        Shows a sentence (text, whether it is an error); called in the window's thread.
    log_file
        Where what nobody expected was last written down: in the study, or beside other temporary files before it is.
    """

    def __init__(
        self,
        folder: Path,
        rig_name: str,
        who: str = "",
        *,
        bring: Callable[[Callable[[], None]], None],
    ) -> None:
        self.folder, self.rig_name, self.who = folder, rig_name, who
        self.study: Study | None = None
        self.rig: Rig | None = None
        self.session: Session | None = None
        self.live: View | None = None
        self.field = ""
        self._is_blind = False
        self._stops = 0
        self.say: Callable[[str, bool], object] = lambda _text, _is_error: None
        self._bring = bring
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rig")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="analysing")
        self._analyst: ProcessPoolExecutor | None = None
        self._known = Known()
        self._doing = ""
        self._began_s = 0.0
        self._progress: tuple[str, float] = ("", 0.0)
        self._is_paused = False
        self._analysing = ""
        self._anaesthesia_s: float | None = None
        self._is_closed = False
        self._accepted: dict[str, RelocationRecord] = {}
        self._wanted_um = (0.0, 0.0, 0.0)
        self._moving = threading.Lock()
        self._after_live: Callable[[], object] | None = None
        self._fault = ("", 0.0)
        self.log_file = folder / LOG_FILE

    # ---- what is in sight --------------------------------------------------------------------------------------

    @property
    def status(self) -> DeskStatus:
        """Everything that is in sight, without asking a device or a disk."""
        rig, live, (told, share) = self.rig, self.live, self._progress
        return DeskStatus(
            known=self._known,
            sight=DARK if rig is None else rig.sight,
            rig="" if rig is None else rig.config.name,
            surface_z_um=None if rig is None else rig.surface_z_um,
            deeper_is=1 if rig is None else rig.config.orientation.deeper_is,
            doing=self._shown(self._doing),
            told=self._shown(told),
            share=share,
            left_s=self._left_s(share),
            is_paused=self._is_paused,
            analysing=self._shown(self._analysing),
            field=self.field,
            is_blind=self.is_blind,
            sitting_s=None if self._anaesthesia_s is None else time.monotonic() - self._anaesthesia_s,
            alarms=() if rig is None else tuple(rig.alarms),
            accepted=frozenset(name for name in self._accepted if self.is_accepted(name)),
            live_power=None if live is None else live.power,
        )

    @property
    def is_blind(self) -> bool:
        """Whether somebody reviews without knowing animal, group and day: no sentence of the window names them."""
        return self._is_blind

    @is_blind.setter
    def is_blind(self, is_blind: bool) -> None:
        begins, self._is_blind = is_blind and not self._is_blind, is_blind
        if begins:
            self.tell("")  # what was said before may name them

    def _shown(self, text: str) -> str:
        if not self._is_blind:
            return text
        groups = () if self.study is None else self.study.record.groups
        return without_names(text, (*self._known.animals, *groups))

    def _left_s(self, share: float) -> float | None:
        took_s = time.monotonic() - self._began_s
        return took_s * (1.0 - share) / share if self._doing and 0.0 < share < 1.0 else None

    @property
    def live_name(self) -> str:
        """Which live view runs or begins, :data:`LIVE` or :data:`LIVE_SURFACE`; empty when none does."""
        return self._doing if self._doing in (LIVE, LIVE_SURFACE) else ""

    @property
    def is_busy(self) -> bool:
        """Whether the worker does something."""
        return bool(self._doing)

    def why_not(self, *, session: bool = False, field: bool = False) -> str | None:
        """Say why a verb cannot begin now; None when it can."""
        if refusal := self.why_not_study():
            return refusal
        if self.rig is None:
            return NO_RIG
        if (session or field) and self.session is None:
            return NO_SESSION
        return NO_FIELD if field and not self.field else None

    def why_not_study(self) -> str | None:
        """Say why the worker cannot do anything now, even without the rig; None when it can."""
        return BUSY.format(doing=self._shown(self._doing)) if self._doing else None

    # ---- doing -------------------------------------------------------------------------------------------------

    def do(self, what: str, verb: Callable[[], T], then: Callable[[T], object] = _ignore) -> bool:
        """Run a blocking verb in the worker and hand its result to ``then``; False when the worker is busy."""
        if self._is_closed:
            return False
        if self._doing:
            self.tell(BUSY.format(doing=self._doing))
            return False
        self._doing, self._began_s, self._progress = what, time.monotonic(), ("", 0.0)
        if what != MOVING:
            self.tell("")  # what was said of the thing before is over
        done = functools.partial(self._say_done, what) if then is _ignore and what != MOVING else then
        self._worker.submit(self._work, verb, done, self._stops)
        return True

    def _say_done(self, what: str, _result: object) -> None:
        self.tell(f"{what}: done")

    def read(self, what: str, verb: Callable[[], T], then: Callable[[T], object] = _ignore) -> None:
        """Read and compute beside the worker, without the rig; errors are told with ``what`` before them."""
        if not self._is_closed:
            self._reader.submit(self._guarded, verb, then, f"{what}: ")

    def _work(self, verb: Callable[[], Any], then: Callable[[Any], object], stops: int) -> None:
        self._guarded(
            functools.partial(self._unless_stopped, verb, stops), then, dark=self._dark, after=self._end_of_work
        )

    def _unless_stopped(self, verb: Callable[[], T], stops: int) -> T:
        """Run a verb as one work, so that no wish to stop is forgotten that came since it was asked for."""
        with contextlib.nullcontext() if self.rig is None else self.rig.work():
            if self._stops != stops:
                raise RigError("stopped before it began; nothing was moved and the light stayed off")
            return verb()

    def _end_of_work(self) -> None:
        try:
            self.know_anew()
        except Exception as error:  # noqa: BLE001 - a study that cannot be read must not keep the desk busy for ever
            self._bring(functools.partial(self._tell, self._told_of(error), True))
        self._doing, self._is_paused = "", False

    def know_anew(self) -> None:
        """Read again what is known; for the worker, in the middle of a long verb."""
        from acquire.gui.knowing import know

        try:
            self._known = know(self.study, self.session, self.rig)
        except (ExperimentError, OSError):  # whoever needs the study hears of it
            if self.session is None:
                self._known = self._known.of_the_study

    def _guarded(
        self,
        verb: Callable[[], T],
        then: Callable[[T], object],
        before: str = "",
        *,
        dark: Callable[[], str] = str,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a verb; whatever happens, the window lives on and hears of it.

        Parameters
        ----------
        verb, then
            What is done, and who gets its result in the window's thread.
        before
            Words before a sentence of what went wrong.
        dark
            Closes the light after what nobody expected, and says so.
        after
            Called at the end, before anybody hears of it.
        """
        try:
            result = verb()
        except ExperimentError as error:
            after()
            self._bring(functools.partial(self._tell, f"{before}{error}", True))
        except Exception as error:  # noqa: BLE001 - the window lives on, the light is off, the log has it all
            told = dark() + self._told_of(error)
            after()
            self._bring(functools.partial(self._tell, f"{before}{told}", True))
        else:
            after()
            self._bring(lambda: _call(then, result))

    def _told_of(self, error: Exception) -> str:
        """Write the traceback down; return one line."""
        self.log_file = log = (self.folder if self.folder.is_dir() else Path(tempfile.gettempdir())) / LOG_FILE
        try:
            with log.open("a", encoding="utf-8") as lines:
                lines.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{''.join(traceback.format_exception(error))}\n")
            where = f"more in {log}"
        except OSError as fault:
            where = f"{log} cannot be written: {fault}"
        text = str(error).partition("\n")[0]
        return f"unexpected {type(error).__name__}: {text}; {where}"

    def _dark(self, *, stop: bool = False) -> str:
        """Close the light, and end what the rig does when ``stop``; say so."""
        rig = self.rig
        if rig is None:
            return ""
        try:
            (rig.stop if stop else rig.close_light)()
        except RigError as shutter:
            return f"{shutter}; "
        return "the light is off; "

    def tell(self, text: str) -> None:
        """Show a sentence that is no error."""
        self._tell(text, False)

    def refuse(self, text: str) -> None:
        """Show a sentence that says why something was not done."""
        self._tell(text, True)

    def _tell(self, text: str, is_error: bool) -> None:
        self.say(self._shown(in_window(text)), is_error)

    def look(self) -> None:
        """Ask the motors where they are, when the worker has nothing else to do."""
        rig = self.rig
        if rig is None or self._doing or self._is_closed:
            return
        self._worker.submit(self._look, rig)

    def _look(self, rig: Rig) -> None:
        if not self._doing:
            with contextlib.suppress(RigError):  # whoever moves next hears of it
                rig.position()

    def stop(self) -> None:
        """End what the rig does and close the light at once, whatever the window does meanwhile."""
        self._forget_wishes()
        if self.rig is not None:
            threading.Thread(target=self._stop, args=(self.rig,), name="stop", daemon=True).start()

    def _forget_wishes(self) -> None:
        self._stops += 1
        self._after_live, self._wanted_um = None, (0.0, 0.0, 0.0)

    def _stop(self, rig: Rig) -> None:
        try:
            rig.stop()
        except RigError as error:
            self._bring(functools.partial(self._tell, str(error), True))

    def hear_fault(self, error: Exception) -> None:
        """Hear of what nobody expected in the window's own thread: light off first, then the log, then one line."""
        self._forget_wishes()
        written = "".join(traceback.format_exception(error))
        last, last_s = self._fault
        is_told = written == last and time.monotonic() - last_s < TELL_AGAIN_S
        if not is_told:
            self._fault = written, time.monotonic()
        threading.Thread(target=self._end_fault, args=(error, is_told), name="fault", daemon=True).start()

    def _end_fault(self, error: Exception, is_told: bool) -> None:
        dark = self._dark(stop=True)
        if is_told:
            return
        tell = functools.partial(self._tell, f"{dark}{self._told_of(error)}", True)
        self._bring(tell)
        if not self._is_closed:
            self._worker.submit(self._bring, tell)  # again, after the "stopped" of what it ended

    def pause(self) -> None:
        """Hold the stack, dark, or go on with it."""
        if self.rig is not None and self._doing:
            self._is_paused = not self._is_paused
            self.rig.pause(self._is_paused)

    # ---- verbs of the desk -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open rig and study; runs in the worker."""
        self.do(f"opening {self.rig_name}", self._open)

    def _open(self) -> None:
        from acquire.config import read_rig_config
        from acquire.opening import open_rig
        from acquire.store import Study

        if self.study is None and any(self.folder.glob("study.json")):
            self.study = Study(self.folder)
        self.rig = open_rig(read_rig_config(self.rig_name))

    def reopen(self, rig_name: str, then: Callable[[], object] = lambda: None) -> None:
        """Close the rig, dark, and open it with what its config says now; ``then`` is called when it is open."""

        def reopen() -> None:
            from acquire.config import read_rig_config

            read_rig_config(rig_name)  # what cannot be read leaves the open rig as it is
            old, self.rig = self.rig, None
            if old is not None:
                old.close()
            self.rig_name = rig_name
            self._open()

        def tell(_opened: None) -> None:
            self.tell(f"{rig_name} is open, dark, with what its file says")
            then()

        if refusal := self.why_not_reopen():
            self.refuse(refusal)
        else:
            self.do(f"reopening {rig_name}", reopen, tell)

    def check_rig(self, then: Callable[[Sequence[Finding]], object]) -> None:
        """Exercise every role of the rig; ``then`` gets what was found."""
        rig = self.rig
        if rig is None:
            self.refuse(NO_RIG)
            return

        def check() -> Sequence[Finding]:
            from acquire.checks import findings_of

            return findings_of(rig)

        self.do("checking the rig", check, then)

    def why_not_reopen(self) -> str | None:
        """Say why the rig cannot be closed and opened again now; None when it can."""
        return self.why_not_study() or (None if self.session is None else REOPEN_LATER)

    def new_study(self, name: str, groups: tuple[str, ...] = (), *, blind: bool = False) -> None:
        """Make the study in its folder; a blind one shows no groups."""

        def make() -> None:
            from acquire.model import StudyRecord
            from acquire.store import Study, made_record

            self.study = Study.create(self.folder, made_record(StudyRecord, name=name, groups=groups, blind=blind))

        self.do("making the study", make)

    def new_animal(self, animal: str, group: str = "", power_limit_mw: float | None = None) -> None:
        """Add an animal to the study."""

        def make() -> None:
            from acquire.model import AnimalRecord
            from acquire.store import made_record

            self._open_study().new_animal(
                made_record(AnimalRecord, id=animal, group=group, power_limit_mw=power_limit_mw)
            )

        self.do(f"adding {animal}", make)

    def open_session(self, animal: str, *, day: float | None = None, new: bool = False) -> None:
        """Begin a session with an animal, or go on with the one that was not closed."""

        def begin() -> Session:
            from acquire.session import Session

            if self.rig is None:
                raise RigError(NO_RIG)
            if self.session is not None:
                raise StudyError(f"session {self.session.record.name} is open; close it first")
            self._accepted.clear()
            self.session = Session.open(
                self._open_study(), animal, self.rig, experimenter=self.who, day=day, new=new, progress=self.hear
            )
            return self.session

        def tell(session: Session) -> None:
            self._anaesthesia_s = time.monotonic()
            goes_on = "; it goes on: was the head re-mounted, begin a new one" if session.goes_on else ""
            self.tell(f"session {session.record.name} of {animal}, day {session.record.day:g}{goes_on}")

        self.do(f"opening a session with {animal}", begin, tell)

    def close_session(self) -> None:
        """End the sitting, dark."""

        def end() -> None:
            session = self.session
            if session is None:
                raise StudyError(NO_SESSION)
            try:
                session.close()
            except StudyError as error:  # the light is off: a disk that is gone or full keeps nobody here
                self._forget_session()
                raise StudyError(
                    f"the session was left, dark, but its end is not written down: {error}; then open it and close it"
                ) from error
            self._forget_session()

        self.do("closing the session", end)

    def _forget_session(self) -> None:
        self.session, self.field, self._anaesthesia_s = None, "", None
        self._accepted.clear()

    def watch(self, field: str | None = None) -> None:
        """Show what is under the objective until somebody stops it."""
        session, rig, lit = self.session, self.rig, field or self.field or None
        if session is None or rig is None:
            self.tell(NO_SESSION if rig is not None else NO_RIG)
            return

        def show() -> str:
            from acquire.live import LiveView

            study = session.study
            plan = study.record.plan if field is None else study.field(session.record.animal, field).plan
            view = LiveView(rig, plan, plan.power_mw, tell=self._refuse_later)
            return self._show(view, lambda: session.watch(view, lit))

        self._go_live(LIVE, show)

    def watch_surface(self) -> None:
        """Show what the surface camera sees until somebody stops it; the laser stays off."""
        rig = self.rig
        if rig is None:
            self.tell(NO_RIG)
            return

        def show() -> str:
            from acquire.live import SurfaceView

            view = SurfaceView(rig, tell=self._refuse_later)
            return self._show(view, view.run)

        self._go_live(LIVE_SURFACE, show)

    def _refuse_later(self, why: str) -> None:
        self._bring(functools.partial(self.refuse, why))

    def _go_live(self, what: str, show: Callable[[], str]) -> None:
        self._after_live = None
        self.do(what, show, self._end_live)

    def _show(self, view: View, run: Callable[[], str]) -> str:
        self.live = view
        try:
            return run()
        finally:
            self.live = None

    def _end_live(self, told: str) -> None:
        self.tell(told)
        after, self._after_live = self._after_live, None
        if after is not None:
            after()

    def leave_live(self) -> None:
        """End the live view, dark, because nobody sees it; what waits for its end is done all the same."""
        after = self._after_live or functools.partial(self.tell, LEFT)
        self.stop()
        self._after_live = after

    def after_live(self, verb: Callable[[], object]) -> None:
        """Do something with the rig: at once, or when the live view, which this ends, is dark."""
        if self.live is None:
            verb()
        else:
            self.stop()
            self._after_live = verb

    def nudge(self, x_um: float = 0.0, y_um: float = 0.0, z_um: float = 0.0) -> None:
        """Move the stage so much further, um; no more than two steps wait, and the live view goes on meanwhile."""
        from acquire.live import NOWHERE_UM, add_wish

        live = self.live
        if live is not None:
            live.nudge(x_um, y_um, z_um)
            return
        if refusal := self.why_not_nudge():
            self.refuse(refusal)
            return
        with self._moving:
            waiting_um = self._wanted_um if self._doing == MOVING else NOWHERE_UM
            self._wanted_um = add_wish(waiting_um, (x_um, y_um, z_um))
        self._move_on()

    def why_not_nudge(self) -> str | None:
        """Say why the stage cannot be moved now; None when it can."""
        can = self.rig is not None and (self.live is not None or self._doing == MOVING)
        return None if can else self.why_not()

    def _move_on(self, _moved: object = None) -> None:
        if any(self._wanted_um) and self._doing != MOVING:
            self.do(MOVING, self._move, self._move_on)

    def _move(self) -> None:
        if self.rig is None:
            raise RigError(NO_RIG)
        with self._moving:
            wanted_um, self._wanted_um = self._wanted_um, (0.0, 0.0, 0.0)
        self.rig.move_to(self.rig.position().moved(*wanted_um))

    def accept_unsure(self, field: str) -> None:
        """Let a field whose search ended unsure be taken: somebody compared the pictures."""
        session = self.session
        if session is None:
            self.refuse(NO_SESSION)
            return

        def accepted(found: RelocationRecord) -> None:
            self._accepted[field] = found
            self.tell(f"{field} is taken for the field although its search was unsure")

        self.do(f"accepting {field}", lambda: session.accept_unsure(field), accepted)

    def is_accepted(self, field: str) -> bool:
        """Whether the last search for a field ended unsure and was accepted; another search forgets it."""
        accepted = self._accepted.get(field)
        if accepted is None:
            return False
        last = next((one.relocation for one in self._known.fields if one.name == field), None)
        return last is not None and last.ended == accepted.ended

    def choose(self, field: str) -> None:
        """Make a field the one that the pages are about."""
        self.field = field

    def analyse(self, field: str) -> None:
        """Compare the sessions of a field in another process, while the rig does what it likes."""
        session = self.session
        if session is None or self._analysing:
            self.tell(NO_SESSION if session is None else f"{self._analysing} is analysed; wait")
            return
        self._analysing = field
        self._waiter.submit(self._guarded, functools.partial(self._analyse, session, field), self._analysed)

    def _analyse(self, session: Session, field: str) -> str:
        from acquire.analysing import analyse_stores, with_trouble

        try:
            study, animal = session.study, session.record.animal
            stores = [store for _, store in study.stacks(animal, field)]
            if not stores:
                raise RelocationError(f"field {field} has no whole stack yet; take one first")
            if self._analyst is None:
                self._analyst = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            done: Future[Analysed] = self._analyst.submit(analyse_stores, stores, study.analysis_folder(animal, field))
            return f"{field}: {with_trouble(done.result().told, done.result().trouble)}"
        except BrokenProcessPool as error:
            self._analyst = None  # the next one gets a process of its own
            raise StudyError(f"the analysis of {field} was ended from outside; analyse it again") from error
        finally:
            self._analysing = ""

    def _analysed(self, told: str) -> None:
        self.tell(told)
        self.read("looking", self.know_anew)

    def close(self) -> bool:
        """Stop, close the light, leave session, study and rig; blocks until the worker has ended.

        Returns
        -------
        bool
            False when a device hangs and the worker does not end: leave the program, its watchdog closes the light.
        """
        if self._is_closed:
            return True
        self._is_closed = True
        if self.rig is not None:
            with contextlib.suppress(RigError):
                self.rig.stop()
        leaving = self._worker.submit(self._leave)
        written = self._reader.submit(lambda: None)  # decisions that were made are written before it
        self._waiter.shutdown(wait=False, cancel_futures=True)
        if self._analyst is not None:
            self._analyst.shutdown(wait=False, cancel_futures=True)
        try:
            written.result(LEAVING_S)
            leaving.result(LEAVING_S)
        except TimeoutError:
            return False
        except (ExperimentError, OSError) as error:  # a study that became read-only: the rig was left all the same
            self._told_of(error)
        finally:
            self._reader.shutdown(wait=False, cancel_futures=True)
        self._worker.shutdown()
        return True

    def _leave(self) -> None:
        with contextlib.ExitStack() as leaving:
            for thing in (self.study, self.rig):
                if thing is not None:
                    leaving.callback(thing.close)  # whatever of this fails, the rest is still done
            if self.session is not None:
                leaving.enter_context(self.session)

    # ---- how ---------------------------------------------------------------------------------------------------

    def hear(self, told: str, share: float) -> None:
        """Hear how far the worker is; called by its verbs."""
        self._progress = told, share

    def _open_study(self) -> Study:
        if self.study is None:
            raise StudyError(f"{self.folder} is no study yet; make one first")
        return self.study
