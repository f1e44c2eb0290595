/** The mark of the sign-in pages: a key in its latch. */
export function Mark({ size = 24 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" style={{ flex: "none", display: "block" }}>
      <rect width="32" height="32" rx="8" fill="#27408b" />
      <g fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round">
        <circle cx="12" cy="16" r="4.7" />
        <path d="M16.7 16H25v4M21.4 16v2.8" />
      </g>
    </svg>
  );
}
