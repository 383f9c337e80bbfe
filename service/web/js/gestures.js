/** Mouse, touch and keyboard on a viewer. The wheel zooms with Ctrl or where the picture has the focus, and never holds the page up. */

const STEP = 40; // pixels that an arrow pans
const ZOOM = 1.25;
const NEAR = { mouse: 10, pen: 16, touch: 28 }; // pixels from the divider that still take hold of it
const TAP = { milliseconds: 300, pixels: 24, moved: 6 };

export function listen(viewer) {
  touches(viewer);
  wheel(viewer);
  keys(viewer);
}

const distance = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y) || 1;
const middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });

function touches(viewer) {
  const { canvas } = viewer;
  const held = new Map(); // pointer → where it is
  let mode = "";
  let start = null;
  let tapped = { at: 0, x: 0, y: 0 };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const near = (event, { x }) => viewer.edge !== null && Math.abs(x - viewer.edge) <= (NEAR[event.pointerType] ?? NEAR.mouse);
  canvas.addEventListener("pointerdown", (event) => {
    const at = place(event);
    held.set(event.pointerId, at);
    canvas.setPointerCapture(event.pointerId);
    mode = held.size > 1 ? "pinch" : near(event, at) ? "split" : "pan";
    start = at;
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    viewer.point(at);
    if (!held.has(event.pointerId)) {
      canvas.style.cursor = near(event, at) ? "ew-resize" : "";
      return;
    }
    const before = held.get(event.pointerId);
    if (mode === "pinch" && held.size === 2) {
      const old = [...held.values()];
      held.set(event.pointerId, at);
      const now = [...held.values()];
      const [from, to] = [middle(old), middle(now)];
      viewer.pan(to.x - from.x, to.y - from.y);
      viewer.zoom(distance(now) / distance(old), to.x, to.y);
      return;
    }
    held.set(event.pointerId, at);
    if (mode === "split") viewer.divide(at.x);
    if (mode === "pan") viewer.pan(at.x - before.x, at.y - before.y);
  });
  canvas.addEventListener("pointerup", (event) => {
    const at = place(event);
    const still = held.size === 1 && mode !== "pinch" && Math.hypot(at.x - start.x, at.y - start.y) < TAP.moved;
    if (still && event.timeStamp - tapped.at < TAP.milliseconds && Math.hypot(at.x - tapped.x, at.y - tapped.y) < TAP.pixels) {
      viewer.toggle(at.x, at.y);
      tapped = { at: 0, x: 0, y: 0 };
    } else if (still) tapped = { at: event.timeStamp, ...at };
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => {
    held.delete(event.pointerId);
    mode = held.size ? "pan" : "";
  });
  canvas.addEventListener("pointerleave", () => viewer.point(null));
}

function wheel(viewer) {
  const { canvas } = viewer;
  canvas.addEventListener("wheel", (event) => {
    const meant = event.ctrlKey || event.metaKey || document.activeElement === canvas;
    const factor = Math.exp(-event.deltaY / 400);
    if (!meant || (!event.ctrlKey && !viewer.zooms(factor))) return; // the page scrolls on
    event.preventDefault();
    viewer.zoom(factor, event.offsetX, event.offsetY);
  }, { passive: false });
}

function keys(viewer) {
  const { canvas } = viewer;
  const centred = (factor) => {
    const box = canvas.getBoundingClientRect();
    viewer.zoom(factor, box.width / 2, box.height / 2);
  };
  const actions = {
    "+": () => centred(ZOOM), "=": () => centred(ZOOM), "-": () => centred(1 / ZOOM),
    0: () => viewer.fit(), 1: () => centred(1 / viewer.scale),
    ArrowLeft: () => viewer.pan(STEP, 0), ArrowRight: () => viewer.pan(-STEP, 0),
    ArrowUp: () => viewer.pan(0, STEP), ArrowDown: () => viewer.pan(0, -STEP),
    "[": () => viewer.divide(viewer.edge - STEP / 2), "]": () => viewer.divide(viewer.edge + STEP / 2),
    b: () => viewer.flip(true),
    Escape: () => canvas.blur(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  });
  canvas.addEventListener("keyup", (event) => event.key === "b" && viewer.flip(false));
  canvas.addEventListener("blur", () => viewer.flip(false));
}
