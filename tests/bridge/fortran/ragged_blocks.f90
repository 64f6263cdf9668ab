! SPDX-License-Identifier: Apache-2.0
!> Blocks (nproma, level, nblocks) with a ragged last block and cells that are not active (id 0), as in ICON and IFS.
!! The emulator gives 2 tas + 1.
program ragged_blocks
   use, intrinsic :: ieee_arithmetic, only: ieee_quiet_nan, ieee_value
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report
   implicit none
   integer, parameter :: nproma = 4, nlev = 3, nblocks = 3, ncells = 10
   type(coupler_t) :: coupler
   integer :: id(nproma, nblocks), i
   real(real64), target :: tas(nproma, nlev, nblocks), lai(nproma, nblocks)
   real(real64) :: lon(nproma, nblocks), lat(nproma, nblocks)

   id = reshape([(merge(i, 0, i <= ncells), i=1, nproma*nblocks)], shape(id))
   id(2, 2) = 0
   lon = 0.0_real64
   lat = 0.0_real64
   where (id == 0) lat = 1.0e30_real64 ! nobody fills the places without a cell
   tas = ieee_value(1.0_real64, ieee_quiet_nan)
   where (id > 0) tas(:, nlev, :) = id
   lai = -9.0_real64

   call new_coupler(coupler)
   call coupler%set_cells(id, lon, lat)
   call coupler%bind('tas', tas(:, nlev, :))
   call coupler%bind('lai', lai)
   call coupler%step()
   call report('active', all(nint(lai) == 2*id + 1 .or. id == 0))
   call report('inactive', all(nint(lai) == -9 .or. id > 0))
   call coupler%finalize()

end program ragged_blocks
