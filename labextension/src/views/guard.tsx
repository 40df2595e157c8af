/** A section that fails says so and leaves the others alone. */
import { Component, type ReactNode } from 'react';
import { trans } from '../i18n';

export class Guard extends Component<
  { what: string; children: ReactNode },
  { failed: string }
> {
  override state = { failed: '' };

  static getDerivedStateFromError(error: unknown): { failed: string } {
    return { failed: String(error) };
  }

  override render(): ReactNode {
    if (!this.state.failed) {
      return this.props.children;
    }
    return (
      <p className="fl-Empty" role="alert">
        {trans.__('%1 could not be drawn: %2', this.props.what, this.state.failed)}{' '}
        <button type="button" className="fl-Link" onClick={() => this.setState({ failed: '' })}>
          {trans.__('Try again')}
        </button>
      </p>
    );
  }
}
