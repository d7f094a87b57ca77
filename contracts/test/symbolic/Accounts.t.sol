// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { StakeVault } from "../../src/StakeVault.sol";
import { IStakeVault } from "../../src/interfaces/IStakeVault.sol";
import { Symbolic } from "./Symbolic.sol";

/// @notice A token of which nothing is known but that its calls succeed.
contract AnyToken {
    function transfer(address, uint256) external pure returns (bool) {
        return true;
    }

    function transferFrom(address, address, uint256) external pure returns (bool) {
        return true;
    }

    function burn(uint256) external pure { }
}

/// @title The vault's accounts, from any storage: bonds and enrolled stake are within the stake, and nobody changes an
/// account but its owner and the ledger.
/// @notice One step of an induction for each function: the vault's storage is unknown, but for what is assumed of the
/// two accounts that are looked at, which is what has to hold again afterwards. A new vault has empty accounts, for which
/// it holds. Queues of withdrawals are assumed to have at most two entries, so that loops over them end.
/// @custom:halmos --solver z3
/// @dev Not here: `slash` of an account from which stake is leaving; its paths are too many for ten minutes. The two
/// accounts have names: the vault compares addresses with each other, with zero and with the ledger's, and
/// does nothing else with them, so that any two others behave alike.
contract AccountsProof is Symbolic {
    /// @dev Slots of the queues, and of the checkpoints of all votes (snapshots/storage/StakeVault.txt).
    uint256 private constant UNBONDINGS_SLOT = 8;
    uint256 private constant TOTAL_SLOT = 5;
    address private constant LEDGER = address(0x1ed9e5);
    /// @dev Whose account is changed, and somebody else.
    address private constant OWNER = address(0xa11ce);
    address private constant OTHER = address(0xb0b);

    /// @dev What an account has.
    struct Account {
        uint256 stake;
        uint256 enrolled;
        uint256 bond;
    }

    StakeVault private _vault;

    function setUp() public {
        _vault = new StakeVault(IERC20(address(new AnyToken())), LEDGER, 7 days);
        SVM.enableSymbolicStorage(address(_vault));
    }

    /// @dev All claims are one assertion, and nothing is checked for overflow here: every branch doubles the paths.
    modifier keepsAccounts() {
        Account memory other = _sound(OTHER);
        _sound(OWNER);
        VM.assume(uint256(VM.load(address(_vault), keccak256(abi.encode(OWNER, UNBONDINGS_SLOT)))) <= 2);
        // Votes are another matter: nobody has delegated, and the total has one checkpoint.
        VM.assume(_and(_vault.delegates(OWNER) == address(0), _vault.delegates(address(0)) == address(0)));
        VM.store(address(_vault), bytes32(TOTAL_SLOT), bytes32(uint256(1)));
        _;
        Account memory own = _read(OWNER);
        unchecked {
            assert(_and(_isSound(own), _isSame(other, _read(OTHER))));
        }
    }

    function check_stake(address caller, uint256 amount) public keepsAccounts {
        uint256 before = _read(OWNER).stake;
        VM.prank(caller);
        _vault.stake(OWNER, amount);
        unchecked {
            assert(_read(OWNER).stake == before + amount);
        }
    }

    function check_requestUnbond(uint256 amount) public keepsAccounts {
        Account memory before = _read(OWNER);
        VM.prank(OWNER);
        _vault.requestUnbond(amount);
        Account memory later = _read(OWNER);
        unchecked {
            assert(_and(later.stake == before.stake - amount, later.bond == before.bond));
        }
    }

    function check_withdraw() public keepsAccounts {
        Account memory before = _read(OWNER);
        VM.prank(OWNER);
        _vault.withdraw();
        assert(_isSame(before, _read(OWNER)));
    }

    function check_unlockBond(address caller, uint256 amount) public keepsAccounts {
        Account memory before = _read(OWNER);
        VM.prank(caller);
        _vault.unlockBond(OWNER, amount);
        Account memory later = _read(OWNER);
        unchecked {
            assert(_and(caller == LEDGER, _and(later.stake == before.stake, later.bond == before.bond - amount)));
        }
    }

    function check_lockBond(address caller, uint256 amount) public keepsAccounts {
        Account memory before = _read(OWNER);
        VM.prank(caller);
        _vault.lockBond(OWNER, amount);
        Account memory later = _read(OWNER);
        unchecked {
            assert(_and(caller == LEDGER, _and(later.stake == before.stake, later.bond == before.bond + amount)));
        }
    }

    function check_enrol(address caller, uint256 amount) public keepsAccounts {
        Account memory before = _read(OWNER);
        VM.prank(caller);
        _vault.enrol(OWNER, amount);
        Account memory later = _read(OWNER);
        unchecked {
            assert(
                _and(
                    caller == LEDGER,
                    _and(later.stake == before.stake, _and(later.bond == before.bond, later.enrolled == amount))
                )
            );
        }
    }

    /// @notice Of an account from which nothing is leaving, no more is taken than its stake without bonds.
    function check_slash(uint256 amount, address beneficiary) public keepsAccounts {
        VM.store(address(_vault), keccak256(abi.encode(OWNER, UNBONDINGS_SLOT)), 0);
        Account memory before = _read(OWNER);
        VM.prank(LEDGER);
        uint256 taken = _vault.slash(OWNER, amount, beneficiary);
        Account memory later = _read(OWNER);
        unchecked {
            assert(
                _and(
                    _and(taken <= amount, taken <= before.stake - before.bond),
                    _and(later.stake == before.stake - taken, later.bond == before.bond)
                )
            );
        }
    }

    /// @notice What else changes the vault leaves all accounts alone.
    function check_others(address delegatee, uint256 which) public keepsAccounts {
        Account memory before = _read(OWNER);
        VM.prank(which == 2 ? LEDGER : OWNER);
        if (which == 0) _vault.delegate(delegatee);
        else if (which == 1) _vault.redraw();
        else _vault.noteBasis();
        assert(_isSame(before, _read(OWNER)));
    }

    /// @notice That no stake leaves an account which has a bond. Must be refuted.
    function refute_requestUnbond(uint256 amount) public keepsAccounts {
        VM.prank(OWNER);
        _vault.requestUnbond(amount);
        assert(_vault.bondOf(OWNER) == 0);
    }

    function _sound(address account) private view returns (Account memory read) {
        read = _read(account);
        VM.assume(_isSound(read));
    }

    /// @dev Bonds and enrolled stake are within the stake, without a sum, which is what solvers find hard.
    function _isSound(Account memory account) private pure returns (bool) {
        unchecked {
            return _and(account.bond <= account.stake, account.enrolled <= account.stake - account.bond);
        }
    }

    function _read(address account) private view returns (Account memory read) {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        IStakeVault.Member memory member = _vault.members(accounts)[0];
        read = Account(member.stake, member.enrolled, _vault.bondOf(account));
    }

    function _isSame(Account memory before, Account memory later) private pure returns (bool) {
        return _and(later.stake == before.stake, _and(later.enrolled == before.enrolled, later.bond == before.bond));
    }
}
