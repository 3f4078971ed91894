import { kept } from "./store";

export interface Preferences {
  theme: "system" | "light" | "dark";
  density: "comfortable" | "compact";
  model: string | null;
  drawer: boolean;
}

export const preferences = kept<Preferences>("chatkeep.preferences", {
  theme: "system",
  density: "comfortable",
  model: null,
  drawer: true,
});

const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** Let the page look as the reader wishes, and follow the system where that is the wish. */
export function applyTheme(): void {
  const { theme, density } = preferences.get();
  const isDark = theme === "dark" || (theme === "system" && dark.matches);
  document.documentElement.classList.toggle("dark", isDark);
  document.documentElement.dataset.density = density;
}

applyTheme();
preferences.watch(applyTheme);
dark.addEventListener("change", applyTheme);
