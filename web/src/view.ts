// What a view is to the page around it, and how views go to each other.

export interface View {
  readonly element: HTMLElement;
  /** Show what the address says. */
  update(values: URLSearchParams): void;
  /** Use a picture that was dropped, pasted or chosen. */
  take(picture: string): void;
  /** Stop what only matters while one looks. */
  leave?(): void;
}

export function address(view: string, values: Record<string, string | number | null | undefined> = {}): string {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return search ? `#/${view}?${search}` : `#/${view}`;
}

/** Go to an address: a step for the back button, or in the place of this one for mere settings. */
export function go(to: string, step = true): void {
  if (step) location.hash = to;
  else {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}

/** Where a view has no use for a picture, one is matched. */
export const choosingGoesToMatch = (picture: string) => go(address("match", { picture }));
