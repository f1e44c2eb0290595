import { useEffect, useRef } from "react";

let first = true;

/**
 * Moves the focus to the heading of a page that was navigated to, so that a screen reader
 * says where one is and Tab goes on from there. The first page of a visit is left alone.
 */
export function usePageFocus<T extends HTMLElement>() {
  const ref = useRef<T>(null);
  useEffect(() => {
    if (first) {
      first = false;
      return;
    }
    ref.current?.focus({ preventScroll: true });
  }, []);
  return ref;
}

/** Where the skip link goes. */
export function focusPage() {
  const target = document.querySelector<HTMLElement>("main h1") ?? document.querySelector<HTMLElement>("main");
  if (!target) return;
  target.tabIndex = -1;
  target.focus();
}
